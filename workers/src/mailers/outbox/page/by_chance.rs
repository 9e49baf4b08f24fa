//! Mails of a grammar, by chance, for the one place that reads mails: none may end the process. Each run has
//! a process of its own, as no test survives the end of its stack. What was found once, and what is known to
//! be odd, is in `seeds` and goes first. Longer than the few seconds of a test run by
//! `POSTLEDGER_TEST_FUZZ_SECONDS`.

use super::{Preview, render};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::process::Command;
use std::time::{Duration, Instant};

/// A quarter of what a thread of the runtime has.
const SMALL_STACK_BYTES: usize = 512 * 1024;
const CHILD: &str = "POSTLEDGER_TEST_CHILD";
const TEST: &str = "mailers::outbox::page::by_chance::mails_by_chance_end_no_process";

fn seconds() -> u64 {
    std::env::var("POSTLEDGER_TEST_FUZZ_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

fn seeds() -> Vec<String> {
    let part = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n";
    let own = |n: usize| format!("Content-Type: multipart/mixed; boundary={n}\r\n\r\n--{n}\r\n");
    vec![
        String::new(),
        "\r\n".into(),
        "Subject".into(),
        "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n".into(),
        "Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-script+AD4-".into(),
        "Content-Transfer-Encoding: base64\r\n\r\n====".into(),
        format!("Subject: {}", "=?utf-8?q?=".repeat(50_000)),
        format!("From: {}", "<".repeat(200_000)),
        format!("To: {}", "(".repeat(200_000)),
        format!("To: {}", "a:".repeat(100_000)),
        "X: y\r\n".repeat(100_000),
        part.repeat(10_000),
        (0..10_000).map(own).collect(),
        "Content-Type: message/rfc822\r\n\r\n".repeat(20_000),
        "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n".repeat(10_000),
    ]
}

fn mail() -> impl Strategy<Value = String> {
    let header = select(vec![
        "From: A <a@example.com>",
        "From: =?utf-8?q?=C3=BC?= <a@example.com>",
        "To: a@example.com, \"b",
        "To: (((x",
        "To: g: a, b;",
        "Subject: =?utf-8?b?PGI+?=",
        "Subject: =?x?y?z",
        "Subject: <script>",
        "Subject:\r\n folded\r\n\tmore",
        "Date: yesterday",
        "Content-Type: text/html; charset=utf-8",
        "Content-Type: text/html; charset=utf-16",
        "Content-Type: ;;;=",
        "Content-Type: text/plain; charset*0*=utf-7'x'%zz",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Transfer-Encoding: x-uuencode",
        "MIME-Version: 1.0",
        "Content-Disposition: attachment; filename=\"a",
        "List-Unsubscribe: <mailto:x>",
        ": empty",
        "no colon",
        "\u{0}: x",
        "X-Ł: 浩",
    ]);
    let text = select(vec![
        "x",
        "<p>x</p>",
        "=C3=BC=\r\n",
        "=zz",
        "PGI+",
        "begin 644 x",
        ".",
        "--a",
        "--a--",
        "--b\r\n",
        "\u{0}",
        "<!--",
        "łódź",
        "\r\n\r\n",
        "From me",
    ]);
    let headers = proptest::collection::vec(header, 0..6).prop_map(|lines| lines.join("\r\n"));
    let times = prop_oneof![8 => Just(1_usize), 1 => 2..100_usize, 1 => Just(3_000)];
    let leaf = (headers.clone(), text, times.clone())
        .prop_map(|(headers, text, times)| format!("{headers}\r\n\r\n{}", text.repeat(times)));
    leaf.prop_recursive(6, 60, 4, move |inner| {
        let kind = select(vec!["mixed", "alternative", "related", "digest", "x"]);
        let border = select(vec!["a", "b", "\"a b\"", "\"\"", "a--"]);
        let parts = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            4 => (headers.clone(), kind, border, parts).prop_map(|(headers, kind, border, parts)| {
                let plain = border.trim_matches('"');
                let parts: String = parts.iter().map(|part| format!("--{plain}\r\n{part}\r\n")).collect();
                format!("{headers}\r\nContent-Type: multipart/{kind}; boundary={border}\r\n\r\n{parts}--{plain}--\r\n")
            }),
            1 => (inner, times.clone()).prop_map(|(inner, times)| {
                format!("{}{inner}", "Content-Type: message/rfc822\r\n\r\n".repeat(times))
            }),
        ]
    })
}

fn live_through(mail: &str) {
    let show = || {
        let preview = Preview::of("a.eml", 0, mail.as_bytes());
        render(&[&preview], 1).unwrap();
    };
    std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(SMALL_STACK_BYTES);
        small.spawn_scoped(scope, show).unwrap().join().unwrap();
    });
}

fn run() {
    // The mail at work is kept in a file, as the end of a process tells nothing.
    let kept = std::env::temp_dir().join("postledger-mail-by-chance");
    let live_through = |mail: &str| {
        std::fs::write(&kept, mail).unwrap();
        live_through(mail);
    };
    seeds().iter().for_each(|seed| live_through(seed));
    let (mails, mut runner, mut count) = (mail(), TestRunner::default(), 0);
    let end = Instant::now() + Duration::from_secs(seconds());
    while Instant::now() < end {
        live_through(&mails.new_tree(&mut runner).unwrap().current());
        count += 1;
    }
    println!("{count} mails");
    std::fs::remove_file(&kept).unwrap();
}

#[test]
fn mails_by_chance_end_no_process() {
    if std::env::var(CHILD).is_ok_and(|child| child == TEST) {
        return run();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, TEST)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", child.status);
}
