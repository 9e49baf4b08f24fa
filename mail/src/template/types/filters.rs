//! What each filter takes and gives. A filter that is not listed here can't be used.

use super::Checker;
use super::kind::Kind;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{CallArg, Expr, Filter};

const NO_LIST: &str = "this filter takes a text or a number, and no list or map";
const NO_LISTS: &str = "this filter takes a list of texts and numbers, and no lists in lists";

/// A filter with what it is applied to.
struct Applied<'f, 't> {
    name: &'f str,
    input: Kind,
    /// What the input is written as, for the reason of a fault.
    written: Option<&'f Expr<'t>>,
    arguments: &'f [CallArg<'t>],
    kinds: Vec<(Option<&'t str>, Kind)>,
    span: Span,
}

impl<'t> Applied<'_, 't> {
    fn keyword(&self, name: &str) -> Option<Kind> {
        self.kinds.iter().find(|(keyword, _)| *keyword == Some(name)).map(|(_, kind)| *kind)
    }

    fn argument(&self, place: usize, name: &str) -> Option<Kind> {
        let positional =
            self.kinds.get(place).filter(|(keyword, _)| keyword.is_none()).map(|(_, kind)| *kind);
        positional.or_else(|| self.keyword(name))
    }

    /// The items, or what `attribute` picks of each.
    fn items(&self) -> Kind {
        let picked = self.keyword("attribute").is_some();
        if picked { self.input.item().item() } else { self.input.item() }
    }

    /// The name of a filter or test in an argument: it has to be written out.
    fn named(&self, place: usize) -> Option<&str> {
        match self.arguments.get(place)? {
            CallArg::Pos(Expr::Const(constant)) => constant.value.as_str(),
            _ => None,
        }
    }

    fn positional(&self, place: usize) -> Option<&Expr<'t>> {
        match self.arguments.get(place)? {
            CallArg::Pos(expr) => Some(expr),
            _ => None,
        }
    }
}

impl<'t> Checker<'t> {
    pub(super) fn filter(&mut self, filter: &Filter<'t>, span: Span) -> Kind {
        // Without an expression it is applied to the text of a block.
        let input = filter.expr.as_ref().map_or(Kind::TEXT, |expr| self.expression(expr));
        let kinds = self.arguments(&filter.args, span);
        let applied = Applied {
            name: filter.name,
            input,
            written: filter.expr.as_ref(),
            arguments: &filter.args,
            kinds,
            span,
        };
        let kind = self.applied(&applied);
        self.made(span, kind)
    }

    fn applied(&mut self, filter: &Applied<'_, 't>) -> Kind {
        let Applied { input, span, .. } = *filter;
        match filter.name {
            "default" | "d" => input.or(filter.argument(0, "").unwrap_or(Kind::TEXT)),
            "length" | "count" => Kind::NUMBER,
            "bool" => Kind::TRUTH,
            "first" | "last" => input.item(),
            "attr" => self.attribute(filter),
            "list" => input.items(),
            "reverse" if input.is_scalar() => input,
            "reverse" => input.kept(),
            "batch" | "slice" => input.items().listed(),
            "items" => Kind { text: true, ..input.item().listed().listed().kept() },
            "dictsort" => {
                self.scalar(span, input.item(), NO_LISTS);
                Kind { text: true, ..input.item().listed().listed() }
            }
            "map" => self.mapped(filter),
            "select" | "reject" => self.selected(filter, input.item(), 0),
            "selectattr" | "rejectattr" => self.selected(filter, input.item().item(), 1),
            "sort" | "unique" | "join" | "min" | "max" | "sum" | "groupby" => self.of_items(filter),
            "chain" | "zip" => {
                let all = filter.kinds.iter().fold(input, |all, (_, kind)| all.or(*kind));
                if filter.name == "zip" { all.listed().kept() } else { all.kept() }
            }
            _ => self.of_scalar(filter),
        }
    }

    /// Filters of one text or number.
    fn of_scalar(&mut self, filter: &Applied<'_, 't>) -> Kind {
        let Applied { input, span, .. } = *filter;
        let all = filter.kinds.iter().fold(input, |all, (_, kind)| all.or(*kind));
        self.scalar(span, all, NO_LIST);
        match filter.name {
            // It says that text is meant.
            "string" => Kind::TEXT,
            "upper" | "lower" | "title" | "capitalize" | "trim" | "replace" | "urlencode" | "indent"
            | "format" | "escape" | "e" => input.as_text(),
            "split" | "lines" => input.as_text().listed(),
            "int" | "float" => filter.argument(0, "default").unwrap_or(Kind::NUMBER).or(Kind::NUMBER),
            "round" | "abs" => {
                self.number(span, input, filter.written);
                Kind::NUMBER
            }
            name => {
                self.fail(span, format!("the filter {name} is not available"));
                Kind::NOTHING
            }
        }
    }

    /// Filters that look into the items of a list.
    fn of_items(&mut self, filter: &Applied<'_, 't>) -> Kind {
        let Applied { input, span, .. } = *filter;
        let items = if filter.name == "groupby" { input.item().item() } else { filter.items() };
        self.scalar(span, items, NO_LISTS);
        match filter.name {
            "join" => {
                let with = filter.argument(0, "d").unwrap_or(Kind::TEXT);
                self.scalar(span, with, NO_LIST);
                items.as_text()
            }
            "groupby" => input.items().listed().listed(),
            "sort" | "unique" => {
                if items.is_text() && items.number {
                    self.doubt(span, "texts and numbers can't be sorted together: write `map('int')` before");
                }
                input.items()
            }
            "min" | "max" => {
                if items.field {
                    let reason =
                        "it compares texts letter by letter: write `map('int')` before it for numbers";
                    self.doubt(span, reason);
                }
                input.item()
            }
            _ => {
                self.number(span, items, None);
                let start = filter.argument(1, "start").unwrap_or(Kind::NUMBER);
                self.scalar(span, start, NO_LIST);
                Kind::NUMBER
            }
        }
    }

    fn attribute(&mut self, filter: &Applied<'_, 't>) -> Kind {
        let key = filter.argument(0, "").unwrap_or(Kind::NOTHING);
        self.scalar(filter.span, key, NO_LIST);
        if filter.input.is_scalar() { Kind::NOTHING } else { filter.input.item() }
    }

    fn mapped(&mut self, filter: &Applied<'_, 't>) -> Kind {
        if filter.keyword("attribute").is_some() {
            let default = filter.keyword("default").unwrap_or(Kind::NOTHING);
            return filter.items().or(default).listed();
        }
        let Some(name) = filter.named(0) else {
            self.fail(filter.span, "map takes the name of a filter in quotes, or attribute=");
            return Kind::NOTHING;
        };
        let each = Applied {
            name,
            input: filter.input.item(),
            written: None,
            arguments: &filter.arguments[1..],
            kinds: filter.kinds[1..].to_vec(),
            span: filter.span,
        };
        // Lists of what other filters make of lists are rare, and would have to be followed.
        match name {
            "map" | "select" | "reject" | "selectattr" | "rejectattr" => {
                self.fail(filter.span, format!("map can't apply {name}"));
                Kind::NOTHING
            }
            _ => self.applied(&each).listed(),
        }
    }

    fn selected(&mut self, filter: &Applied<'_, 't>, tested: Kind, place: usize) -> Kind {
        if filter.kinds.len() > place {
            let Some(test) = filter.named(place) else {
                self.fail(filter.span, "this takes the name of a test in quotes");
                return Kind::NOTHING;
            };
            let against = filter.kinds.get(place + 1).map_or(Kind::NOTHING, |(_, kind)| *kind);
            self.tested(filter.span, test, (tested, None), (against, filter.positional(place + 1)));
        }
        filter.input.items()
    }
}
