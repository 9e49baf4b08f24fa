//! How near the limit Postledger is: each figure beside the raw limit taken in the same run.
//!
//! `./run bench` builds it with the binary that it measures, starts a Postgres that flushes like a real one, and sets
//! the environment of the `e2e` library. A figure that fails to come about ends the run with a panic.

// A measure says what went wrong by a panic, and observes with clocks of its own.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod latency;
mod measures;
mod report;
mod scene;
mod soak;
mod world;

use measures::ALL;
use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = PathBuf::from(arguments.remove(0));
    if let [command, minutes] = arguments.as_slice()
        && command == "--soak"
    {
        let minutes = minutes.parse().expect("minutes");
        std::process::exit(i32::from(!soak::run(&file, minutes).await));
    }
    let known: Vec<&str> = ALL.iter().map(|measure| measure.name).collect();
    if let Some(unknown) = arguments.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("there is no measure {unknown:?}; there are {}", known.join(", "));
        std::process::exit(2);
    }
    let mut results = report::Results::read(&file);
    for measure in ALL {
        if arguments.is_empty() || arguments.iter().any(|name| name == measure.name) {
            println!("\n{}: {}", measure.name, measure.what);
            let figures = (measure.take)().await;
            for figure in &figures {
                println!("  {figure}");
            }
            // At once, so that an interrupted run keeps what it has.
            results.set(measure, figures);
            results.write(&file);
        }
    }
    println!("\nwritten to {}", file.display());
}
