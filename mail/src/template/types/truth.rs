//! Where a template asks whether a reader's field is true: every text but an empty one is, "0" and "no" as well.
//!
//! To ask whether a reader has a field that is shown then is what newsletters do. One that is asked for and nowhere else
//! used is most likely a yes or no.

use super::super::fields::BUILT_IN;
use super::{Checker, name_of};
use minijinja::machinery::ast::{BinOpKind, Expr, UnaryOpKind};
use std::collections::BTreeSet;

/// What a field is asked for as text, and keeps what it holds.
const KEEPING: [&str; 9] =
    ["default", "d", "trim", "lower", "upper", "title", "capitalize", "string", "bool"];

#[derive(Debug, Default)]
pub(in super::super) struct Truths {
    /// Lines, and the attributes that are asked for there.
    pub asked: BTreeSet<(usize, String)>,
    /// Names that are shown or compared somewhere.
    pub used: BTreeSet<String>,
}

impl<'t> Checker<'t> {
    /// A condition: like an expression, whose value is only asked whether it is true.
    pub(super) fn condition(&mut self, expr: &Expr<'t>) {
        match expr {
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => self.condition(&op.expr),
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
                self.condition(&op.left);
                self.condition(&op.right);
            }
            _ => {
                let asked =
                    asked(expr).filter(|name| !self.names.contains_key(name) && !BUILT_IN.contains(name));
                let Some(name) = asked else {
                    self.expression(expr);
                    return;
                };
                self.unused(name, expr);
                self.truths.asked.insert((usize::from(expr.span().start_line), name.to_owned()));
            }
        }
    }

    /// An expression that does not count as a use of this name.
    pub(super) fn unused(&mut self, name: &str, expr: &Expr<'t>) {
        let was_used = self.truths.used.contains(name);
        self.expression(expr);
        if !was_used {
            self.truths.used.remove(name);
        }
    }
}

/// The field whose text this is.
fn asked<'t>(expr: &Expr<'t>) -> Option<&'t str> {
    match expr {
        Expr::Var(var) => Some(var.id),
        Expr::Filter(filter) if KEEPING.contains(&filter.name) => asked(filter.expr.as_ref()?),
        _ => None,
    }
}

/// Whether this asks only if the name is there: which one.
pub(super) fn is_there<'e>(test: &str, of: &'e Expr<'_>) -> Option<&'e str> {
    ["defined", "undefined", "none"].contains(&test).then(|| name_of(of)).flatten()
}
