//! What operators and tests take.

use super::Checker;
use super::kind::Kind;
use super::truth::is_there;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{BinOp, BinOpKind, Compare, CompareOpKind, Expr, Test, UnaryOp, UnaryOpKind};
use minijinja::value::ValueKind;

const NO_LISTS: &str = "lists and maps can't be compared or joined as a whole";

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    /// Of two texts the order is that of a dictionary: "9" comes after "100".
    Order,
    In,
}

impl<'t> Checker<'t> {
    pub(super) fn unary(&mut self, op: &UnaryOp<'t>, span: Span) -> Kind {
        match op.op {
            UnaryOpKind::Not => {
                self.condition(&op.expr);
                Kind::TRUTH
            }
            UnaryOpKind::Neg => {
                let kind = self.expression(&op.expr);
                self.number(span, kind, Some(&op.expr));
                Kind::NUMBER
            }
        }
    }

    pub(super) fn binary(&mut self, op: &BinOp<'t>, span: Span) -> Kind {
        let (left, right) = (self.expression(&op.left), self.expression(&op.right));
        let comparison = match op.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => return left.or(right),
            BinOpKind::Concat => {
                self.scalar(span, left.or(right), NO_LISTS);
                return Kind::TEXT;
            }
            BinOpKind::Add => return self.sum(span, (left, &op.left), (right, &op.right)),
            BinOpKind::Mul if left.is_scalar() && left == Kind::TEXT && !right.is_text() => {
                return Kind::TEXT;
            }
            BinOpKind::Sub
            | BinOpKind::Mul
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => {
                self.number(span, left, Some(&op.left));
                self.number(span, right, Some(&op.right));
                return Kind::NUMBER;
            }
            BinOpKind::Eq | BinOpKind::Ne => Comparison::Equal,
            BinOpKind::Lt | BinOpKind::Lte | BinOpKind::Gt | BinOpKind::Gte => Comparison::Order,
            BinOpKind::In => Comparison::In,
        };
        self.compare(span, comparison, (left, Some(&op.left)), (right, Some(&op.right)));
        Kind::TRUTH
    }

    pub(super) fn comparisons(&mut self, compare: &Compare<'t>, span: Span) -> Kind {
        let (mut left, mut written) = (self.expression(&compare.expr), &compare.expr);
        for op in &compare.ops {
            let right = self.expression(&op.expr);
            let comparison = match op.op {
                CompareOpKind::Eq | CompareOpKind::Ne => Comparison::Equal,
                CompareOpKind::In | CompareOpKind::NotIn => Comparison::In,
                CompareOpKind::Lt | CompareOpKind::Lte | CompareOpKind::Gt | CompareOpKind::Gte => {
                    Comparison::Order
                }
            };
            self.compare(span, comparison, (left, Some(written)), (right, Some(&op.expr)));
            (left, written) = (right, &op.expr);
        }
        Kind::TRUTH
    }

    pub(super) fn test(&mut self, test: &Test<'t>, span: Span) -> Kind {
        if let Some(name) = is_there(test.name, &test.expr) {
            self.unused(name, &test.expr);
            return Kind::TRUTH;
        }
        let kind = self.expression(&test.expr);
        let arguments = self.arguments(&test.args, span);
        let argument = test.args.first().and_then(|argument| match argument {
            minijinja::machinery::ast::CallArg::Pos(expr) => Some(expr),
            _ => None,
        });
        let against = arguments.first().map_or(Kind::NOTHING, |(_, kind)| *kind);
        self.tested(span, test.name, (kind, Some(&test.expr)), (against, argument));
        Kind::TRUTH
    }

    /// `select` and `reject` call tests by their names.
    pub(super) fn tested(
        &mut self,
        span: Span,
        name: &str,
        (kind, expr): (Kind, Option<&Expr<'t>>),
        (against, argument): (Kind, Option<&Expr<'t>>),
    ) {
        let comparison = match name {
            "defined" | "undefined" | "none" | "sequence" | "iterable" | "mapping" | "string" | "boolean" => {
                return;
            }
            "eq" | "equalto" | "==" | "ne" | "!=" | "sameas" => Comparison::Equal,
            "lt" | "lessthan" | "<" | "le" | "<=" | "gt" | "greaterthan" | ">" | "ge" | ">=" => {
                Comparison::Order
            }
            "in" => Comparison::In,
            "odd" | "even" | "divisibleby" => {
                self.number(span, kind, expr);
                return self.scalar(span, against, NO_LISTS);
            }
            "number" | "integer" | "int" | "float" | "true" | "false" if kind == Kind::FIELD => {
                let what = described(expr);
                return self.doubt(span, format!("{what} is always text, so `is {name}` is never true"));
            }
            _ => return self.scalar(span, kind.or(against), NO_LISTS),
        };
        self.compare(span, comparison, (kind, expr), (against, argument));
    }

    fn sum(&mut self, span: Span, left: (Kind, &Expr<'t>), right: (Kind, &Expr<'t>)) -> Kind {
        if left.0.field && right.0.field {
            let what = described(Some(if left.0 == Kind::FIELD { left.1 } else { right.1 }));
            self.doubt(
                span,
                format!("{what} is text: write `|int` behind both to add them, or ~ to join them"),
            );
        } else if left.0.is_text() && right.0.is_text() && !left.0.number && !right.0.number {
            self.scalar(span, left.0.or(right.0), NO_LISTS);
            return Kind::TEXT;
        } else {
            self.number(span, left.0, Some(left.1));
            self.number(span, right.0, Some(right.1));
        }
        Kind::NUMBER
    }

    /// A value that is reckoned with.
    pub(super) fn number(&mut self, span: Span, kind: Kind, expr: Option<&Expr<'t>>) {
        if kind.is_no_number() {
            let what = described(expr);
            self.doubt(span, format!("{what} is text, and this takes a number: write {}", converted(expr)));
        }
        self.scalar(span, kind, "lists and maps can't be reckoned with");
    }

    fn compare(
        &mut self,
        span: Span,
        comparison: Comparison,
        (left, written): (Kind, Option<&Expr<'t>>),
        (right, against): (Kind, Option<&Expr<'t>>),
    ) {
        let within = comparison == Comparison::In;
        // Whether a text holds a text needs no look into anything.
        let right = if within && !right.is_scalar() { right.item() } else { right };
        if !left.is_scalar() || !right.is_scalar() {
            return self.fail(span, NO_LISTS);
        }
        let (text, other) =
            if right.is_text() && !left.is_text() { (against, left) } else { (written, right) };
        let differ = |text: Kind, number: Kind| text.is_no_number() && number.number && !number.field;
        if differ(left, right) || differ(right, left) {
            let (what, remedy) = (described(text), converted(text));
            return self
                .doubt(span, format!("{what} is text, and it is compared with a number: write {remedy}"));
        }
        if left.or(right).field && other == Kind::TRUTH {
            let what = described(text);
            let reason = format!(
                "{what} is text, and is never true or false: compare it with a text, as in `== 'true'`"
            );
            return self.doubt(span, reason);
        }
        let as_number = |expr: Option<&Expr<'t>>| expr.is_some_and(is_number_in_quotes);
        let by_letters = (left == Kind::FIELD && right == Kind::FIELD)
            || (left.field && as_number(against))
            || (right.field && as_number(written));
        if comparison == Comparison::Order && by_letters {
            let (what, remedy) = (described(text), converted(text));
            let reason = format!(
                "{what} is text, and texts are compared letter by letter: write {remedy} for numbers, \
                 or `|string` if the order of a dictionary is meant"
            );
            self.doubt(span, reason);
        }
    }
}

fn is_number_in_quotes(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::Const(constant) if constant.value.kind() == ValueKind::String => {
            constant.value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok())
        }
        _ => false,
    }
}

fn described(expr: Option<&Expr<'_>>) -> String {
    match expr {
        Some(Expr::Var(var)) => format!("`{}`", var.id),
        Some(Expr::Filter(filter)) => described(filter.expr.as_ref()),
        Some(_) => "one side".into(),
        None => "an item".into(),
    }
}

fn converted(expr: Option<&Expr<'_>>) -> String {
    match expr {
        Some(Expr::Var(var)) => format!("`{}|int`", var.id),
        Some(_) => "`|int` behind it".into(),
        None => "`map('int')` before it".into(),
    }
}
