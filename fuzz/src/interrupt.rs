//! Ctrl-C, and SIGTERM: they ask for a clean end. A second Ctrl-C ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Set once an end was asked for, after this call.
pub fn listen() -> &'static AtomicBool {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = ask as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic and calls `signal`, both of which a handler may do.
        unsafe { libc::signal(signal, handler) };
    }
    &ASKED
}

extern "C" fn ask(signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
    // Not SIGTERM: `timeout` sends it twice at once, to the process and to its group.
    if signal == libc::SIGINT {
        // SAFETY: `signal` may be called in a handler. Whoever does not want to wait asks again.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
