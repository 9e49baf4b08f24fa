//! Where templates are worked on. They come from users of the API, and neither the engine nor mrml was made for
//! enemies.
//!
//! Both call themselves for what is nested, and a stack that ends takes the whole process with it. So nesting is
//! bounded by checks of our own (`jinja`, `types`, `mjml`), and what is allowed then needs a fraction of the stack
//! that is there. A panic is an error of that template.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// For parsing and compiling. It is address space: only what is used becomes memory.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs work that goes as deep as a template is nested. None: it panicked, or there is no thread to be had.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("template".into()).stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// Runs work for one reader: it goes no deeper than a few calls of macros. None: it panicked.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What a panic left half-done is dropped with the reader's values; the compiled template has no state.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some KiB for each level.
    fn descend(levels: usize) -> usize {
        let frame = std::hint::black_box([levels; 512]);
        if levels == 0 { frame[0] } else { descend(levels - 1) + std::hint::black_box(frame[1]) - levels + 1 }
    }

    #[test]
    fn the_stack_is_larger_than_a_threads() {
        assert_eq!(on_large_stack(|| descend(5_000)), Some(5_000));
    }

    #[test]
    fn a_panic_is_no_answer() {
        assert_eq!(on_large_stack(|| Vec::<u8>::new()[0]), None);
        assert_eq!(caught(|| Vec::<u8>::new()[0]), None);
    }
}
