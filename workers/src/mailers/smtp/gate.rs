//! The last check before the DATA line, where bytes leave the process.
//!
//! An SMTP connection writes through a [`Gated`] stream. Once armed, the gate checks the window right before the next
//! write to the socket, refuses it if the window has passed, and reads the clocks again right after it. With TLS the gate
//! stands below the encryption.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::window::Window;

/// What became of the armed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// Nothing was written yet.
    Waiting,
    /// The window had passed: nothing was written, and the connection is of no more use.
    Refused,
    Written {
        late: bool,
    },
}

#[derive(Debug, Clone)]
enum State {
    Open,
    Armed(Window),
    Passed(Passage),
}

/// Shared by a connection's stream and its session.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::Open)))
    }

    /// From now on the next write to the socket is the start of a call.
    pub(super) fn arm(&self, window: &Window) {
        self.set(State::Armed(window.clone()));
    }

    /// What became of the armed write; later writes pass unchecked.
    pub(super) fn disarm(&self) -> Passage {
        match std::mem::replace(&mut *self.lock(), State::Open) {
            State::Passed(passage) => passage,
            State::Open | State::Armed(_) => Passage::Waiting,
        }
    }

    fn armed(&self) -> Option<Window> {
        match &*self.lock() {
            State::Armed(window) => Some(window.clone()),
            State::Open | State::Passed(_) => None,
        }
    }

    fn set(&self, state: State) {
        *self.lock() = state;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream with a gate before its writes.
pub(super) struct Gated<S> {
    stream: S,
    gate: Gate,
}

impl<S> Gated<S> {
    pub(super) fn new(stream: S, gate: Gate) -> Self {
        Self { stream, gate }
    }
}

impl<S> fmt::Debug for Gated<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(window) = self.gate.armed() else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        if window.check().is_err() {
            self.gate.set(State::Passed(Passage::Refused));
            return Poll::Ready(Err(io::Error::other("the window has passed")));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.gate.set(State::Passed(Passage::Written { late: window.is_late() }));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Gated<S> {
    /// Nobody asks for it: lettre only requires that a stream of one's own has it.
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::window::scripted::window;

    fn gated() -> (Gated<Vec<u8>>, Gate) {
        let gate = Gate::new();
        (Gated::new(Vec::new(), gate.clone()), gate)
    }

    #[tokio::test]
    async fn an_armed_gate_passes_one_write_within_the_window() {
        let (mut stream, gate) = gated();
        gate.arm(&window(&[(1_999, 1_999), (2_000, 2_000)]));
        stream.write_all(b"DATA\r\n").await.unwrap();
        assert_eq!(gate.disarm(), Passage::Written { late: false });
        assert_eq!(stream.stream, b"DATA\r\n");
    }

    #[tokio::test]
    async fn an_armed_gate_refuses_a_write_after_the_window() {
        let (mut stream, gate) = gated();
        gate.arm(&window(&[(2_001, 2_001)]));
        assert!(stream.write_all(b"DATA\r\n").await.is_err());
        assert_eq!(gate.disarm(), Passage::Refused);
        assert!(stream.stream.is_empty());
    }

    #[tokio::test]
    async fn a_write_that_ends_after_the_window_is_late() {
        let (mut stream, gate) = gated();
        gate.arm(&window(&[(1_999, 1_999), (2_600, 2_600)]));
        stream.write_all(b"DATA\r\n").await.unwrap();
        assert_eq!(gate.disarm(), Passage::Written { late: true });
    }

    #[tokio::test]
    async fn an_open_gate_checks_nothing() {
        let (mut stream, gate) = gated();
        stream.write_all(b"NOOP\r\n").await.unwrap();
        assert_eq!(gate.disarm(), Passage::Waiting);
    }
}
