//! What a person who cannot see, or cannot point, would stumble over: axe-core (<https://github.com/dequelabs/axe-core>).

use crate::browser::Browser;
use crate::script;
use serde::Deserialize;

/// Behind the tool's own source. Answers what is wrong and what it could not decide, and how many rules found nothing to
/// object to. The size of targets (WCAG 2.2, 2.5.8) is a rule that has to be asked for.
const RUN: &str = "
    const done = arguments[0];
    const tell = ({ id, nodes }) => nodes.map((node) => `${id}: ${node.target}: ${node.failureSummary ?? node.html}`);
    axe.run(document, { rules: { 'target-size': { enabled: true } } }).then(
        ({ violations, incomplete, passes }) => done({ found: [...violations, ...incomplete].flatMap(tell), passed: passes.length }),
        (error) => done({ found: [String(error)], passed: 0 }),
    );";

/// Fewer rules say something of a page that has a title, a heading and a language.
const PASSED_MIN: usize = 10;

pub struct Axe {
    script: String,
}

#[derive(Deserialize)]
struct Found {
    found: Vec<String>,
    passed: usize,
}

impl Axe {
    /// `None`, and a word on it, where it was not fetched.
    pub fn fetched() -> Option<Self> {
        let file = script::path("POSTLEDGER_TEST_AXE")?.join("node_modules/axe-core/axe.min.js");
        let source = std::fs::read_to_string(&file);
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Some(Self { script: source + RUN })
    }

    /// What is wrong with the page that is open, and what has to be looked at: a line for each rule and element.
    pub async fn complaints(&self, browser: &Browser) -> Vec<String> {
        let answer = browser.client.execute_async(&self.script, Vec::new()).await.unwrap();
        let Found { mut found, passed } = serde_json::from_value(answer).unwrap();
        if passed < PASSED_MIN {
            found.push(format!("only {passed} rules had something to look at"));
        }
        found
    }
}
