//! The walk over statements and expressions.

use super::kind::Kind;
use super::{Checker, FUNCTIONS, name_of};
use crate::template::media;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{Call, CallArg, CallType, Expr, Macro, Spanned, Stmt};

const NO_NAMESPACE: &str =
    "namespace is not available: loop.index counts, and the filters sum and join add up";

impl<'t> Checker<'t> {
    pub(super) fn statement(&mut self, statement: &Stmt<'t>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(_) => {}
            Stmt::EmitExpr(emit) => {
                let kind = self.expression(&emit.expr);
                self.scalar(emit.span(), kind, "a list or map can't be shown: write join, or a loop");
            }
            Stmt::ForLoop(each) => {
                let items = self.expression(&each.iter).item();
                if each.recursive {
                    self.fail(each.span(), "recursive is not available");
                }
                self.scoped(|this| {
                    this.again();
                    this.assign_to(&each.target, items);
                    this.names.insert("loop", items);
                    each.filter_expr.iter().for_each(|filter| this.condition(filter));
                    this.statements(&each.body);
                });
                self.scoped(|this| this.statements(&each.else_body));
            }
            Stmt::IfCond(condition) => {
                self.condition(&condition.expr);
                let before = self.names.clone();
                self.statements(&condition.true_body);
                let after = std::mem::replace(&mut self.names, before);
                self.statements(&condition.false_body);
                self.merge(after);
            }
            Stmt::WithBlock(with) => self.scoped(|this| {
                for (target, value) in &with.assignments {
                    let kind = this.expression(value);
                    this.assign_to(target, kind);
                }
                this.statements(&with.body);
            }),
            Stmt::Set(set) => {
                let kind = self.expression(&set.expr);
                self.assign_to(&set.target, kind);
            }
            Stmt::SetBlock(set) => {
                self.scoped(|this| this.statements(&set.body));
                let kind = set.filter.as_ref().map_or(Kind::TEXT, |filter| self.expression(filter));
                self.assign_to(&set.target, kind);
            }
            Stmt::FilterBlock(filter) => {
                self.scoped(|this| this.statements(&filter.body));
                let kind = self.expression(&filter.filter);
                self.scalar(filter.span(), kind, "a list or map can't be shown: write join, or a loop");
            }
            Stmt::Macro(made) => self.definition(made.name, made),
            Stmt::CallBlock(block) => {
                self.definition("caller", &block.macro_decl);
                self.call(&block.call);
            }
            Stmt::Do(action) => {
                self.call(&action.call);
            }
            Stmt::AutoEscape(_)
            | Stmt::Block(_)
            | Stmt::Import(_)
            | Stmt::FromImport(_)
            | Stmt::Extends(_)
            | Stmt::Include(_) => self.fail(Span::default(), "a template is one document"),
        }
    }

    fn statements(&mut self, statements: &[Stmt<'t>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    /// What is set within may be seen after it, and what was before as well.
    fn scoped(&mut self, walk: impl FnOnce(&mut Self)) {
        let before = self.names.clone();
        walk(self);
        self.merge(before);
    }

    fn merge(&mut self, other: std::collections::BTreeMap<&'t str, Kind>) {
        for (name, kind) in other {
            let here = self.held(name);
            self.names.insert(name, here.or(kind));
        }
    }

    /// At the beginning of what runs more than once, names may hold what is set later in it.
    fn again(&mut self) {
        self.merge(self.assigned.clone());
    }

    fn definition(&mut self, name: &'t str, made: &Macro<'t>) {
        let parameters: Vec<&'t str> = made
            .args
            .iter()
            .filter_map(|arg| if let Expr::Var(var) = arg { Some(var.id) } else { None })
            .collect();
        self.macros.entry(name).or_default().insert(parameters.clone());
        self.scoped(|this| {
            this.again();
            for parameter in parameters.iter().copied().chain(["caller"]) {
                let given = this.assigned.get(parameter).copied().unwrap_or(Kind::NOTHING);
                this.names.insert(parameter, given);
            }
            // The last parameters have the defaults.
            let first = made.args.len().saturating_sub(made.defaults.len());
            for (parameter, default) in parameters.iter().copied().skip(first).zip(&made.defaults) {
                let kind = this.expression(default).or(this.held(parameter));
                this.assign(parameter, kind);
            }
            this.statements(&made.body);
        });
    }

    fn assign_to(&mut self, target: &Expr<'t>, kind: Kind) {
        match target {
            Expr::Var(var) => self.assign(var.id, kind),
            Expr::List(list) => list.items.iter().for_each(|item| self.assign_to(item, kind.item())),
            Expr::Tuple(list) => list.items.iter().for_each(|item| self.assign_to(item, kind.item())),
            other => self.fail(other.span(), NO_NAMESPACE),
        }
    }

    pub(super) fn scalar(&mut self, span: Span, kind: Kind, otherwise: &str) {
        if !kind.is_scalar() {
            self.fail(span, otherwise);
        }
    }

    fn optional(&mut self, expr: Option<&Expr<'t>>) -> Kind {
        expr.map_or(Kind::NOTHING, |expr| self.expression(expr))
    }

    pub(super) fn expression(&mut self, expr: &Expr<'t>) -> Kind {
        let span = expr.span();
        match expr {
            Expr::Var(var) if var.id == "loop" => {
                self.fail(span, "`loop` is no value: write `loop.index` or another of its attributes");
                Kind::NOTHING
            }
            Expr::Var(var) if self.macros.contains_key(var.id) || FUNCTIONS.contains(&var.id) => {
                self.fail(span, format!("`{}` can only be called", var.id));
                Kind::NOTHING
            }
            Expr::Var(var) => {
                self.truths.used.insert(var.id.to_owned());
                self.held(var.id)
            }
            Expr::Const(constant) => Kind::of(&constant.value),
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    self.optional(bound.as_ref());
                }
                match self.expression(&slice.expr) {
                    text if text.is_scalar() => text,
                    list => self.made(span, list.kept()),
                }
            }
            Expr::UnaryOp(op) => self.unary(op, span),
            Expr::BinOp(op) => self.binary(op, span),
            Expr::Compare(compare) => self.comparisons(compare, span),
            Expr::IfExpr(choice) => {
                self.condition(&choice.test_expr);
                let otherwise = self.optional(choice.false_expr.as_ref());
                self.expression(&choice.true_expr).or(otherwise)
            }
            Expr::Filter(filter) => self.filter(filter, span),
            Expr::Test(test) => self.test(test, span),
            Expr::GetAttr(attribute) => match name_of(&attribute.expr) {
                Some("loop") => self.of_loop(attribute.name),
                _ => {
                    let of = self.expression(&attribute.expr);
                    if of.is_scalar() { Kind::NOTHING } else { of.item() }
                }
            },
            Expr::GetItem(item) => {
                let index = self.expression(&item.subscript_expr);
                self.scalar(span, index, "a list or map is no key");
                self.expression(&item.expr).item()
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.listed(span, &list.items),
            Expr::Tuple(list) => self.listed(span, &list.items),
            Expr::Map(map) => {
                for key in &map.keys {
                    let kind = self.expression(key);
                    self.scalar(key.span(), kind, "a list or map is no key");
                }
                let values: Vec<Kind> = map.values.iter().map(|value| self.expression(value)).collect();
                let all = values.iter().fold(Kind::NOTHING, |all, value| all.or(*value));
                let mixed = values.iter().any(|value| *value != all);
                // A loop over a map gives its keys.
                let map = Kind { text: true, mixed: mixed || all.mixed, ..all };
                self.made(span, map.listed())
            }
        }
    }

    fn listed(&mut self, span: Span, items: &[Expr<'t>]) -> Kind {
        let items = items.iter().fold(Kind::NOTHING, |all, item| all.or(self.expression(item)));
        self.made(span, items.listed())
    }

    fn of_loop(&self, attribute: &str) -> Kind {
        match attribute {
            "first" | "last" => Kind::TRUTH,
            "previtem" | "nextitem" => self.held("loop"),
            _ => Kind::NUMBER,
        }
    }

    fn call(&mut self, call: &Spanned<Call<'t>>) -> Kind {
        let span = call.span();
        let arguments = self.arguments(&call.args, span);
        let all = arguments.iter().fold(Kind::NOTHING, |all, (_, kind)| all.or(*kind));
        match call.identify_call() {
            CallType::Function("range") => Kind::NUMBER.listed(),
            CallType::Function(media::FUNCTION) => Kind::TEXT,
            CallType::Function("dict") => {
                let listed = arguments.iter().fold(Kind::TEXT.listed(), |all, (name, kind)| {
                    all.or(if name.is_some() { kind.listed() } else { *kind })
                });
                self.made(span, listed)
            }
            CallType::Function("namespace") => {
                self.fail(span, NO_NAMESPACE);
                Kind::NOTHING
            }
            CallType::Function(name) if name == "caller" || self.macros.contains_key(name) => {
                self.pass(name, &arguments);
                Kind::TEXT
            }
            CallType::Method(of, "changed") if name_of(of) == Some("loop") => {
                self.scalar(span, all, "loop.changed compares texts and numbers, and no lists");
                Kind::TRUTH
            }
            CallType::Method(of, "cycle") if name_of(of) == Some("loop") && !arguments.is_empty() => all,
            _ => {
                self.fail(span, "this can't be called: there are filters, macros, range, dict and media");
                Kind::NOTHING
            }
        }
    }

    /// Arguments become what the parameters hold.
    fn pass(&mut self, name: &str, arguments: &[(Option<&'t str>, Kind)]) {
        let macros: Vec<_> = self.macros.get(name).into_iter().flatten().cloned().collect();
        for parameters in macros {
            for (place, (keyword, kind)) in arguments.iter().enumerate() {
                if let Some(parameter) = keyword.or(parameters.get(place).copied()) {
                    self.remember(parameter, *kind);
                }
            }
        }
    }

    pub(super) fn arguments(
        &mut self,
        arguments: &[CallArg<'t>],
        span: Span,
    ) -> Vec<(Option<&'t str>, Kind)> {
        let mut kinds = Vec::with_capacity(arguments.len());
        for argument in arguments {
            kinds.push(match argument {
                CallArg::Pos(expr) => (None, self.expression(expr)),
                CallArg::Kwarg(name, expr) => (Some(*name), self.expression(expr)),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    self.fail(span, "arguments are written one by one, without *");
                    (None, Kind::NOTHING)
                }
            });
        }
        kinds
    }
}
