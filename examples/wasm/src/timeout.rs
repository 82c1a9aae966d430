//! `--timeout`: a thread that interrupts the program when its time is up.
//!
//! A program that stays in a function of the host, as one does that waits for input, cannot be interrupted: after
//! [`GRACE`] the process is ended.

use regraft::Interrupter;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The exit code of a program whose time was up.
pub const TIME_IS_UP: u8 = 3;

/// How long a program may take to come out of the host.
const GRACE: Duration = Duration::from_millis(500);

/// Interrupts the thread that made it, unless it is dropped before.
#[derive(Debug)]
pub struct Timeout {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Timeout {
    /// Interrupts the calling thread after this time; nothing where no thread can be made.
    pub fn after(limit: Duration) -> Option<Self> {
        let interrupter = Interrupter::this_thread()?;
        let (done, wait) = channel();
        let watch = move || watch(&wait, limit, &interrupter);
        let thread = std::thread::Builder::new().spawn(watch).ok()?;
        Some(Self {
            done: Some(done),
            thread: Some(thread),
        })
    }
}

fn watch(wait: &Receiver<()>, limit: Duration, interrupter: &Interrupter) {
    let in_time = |time| !matches!(wait.recv_timeout(time), Err(RecvTimeoutError::Timeout));
    if in_time(limit) || interrupter.interrupt(GRACE) || in_time(Duration::ZERO) {
        return;
    }
    eprintln!(
        "regraft-wasm: the program was ended when its time was up, in a function of the host"
    );
    std::process::exit(TIME_IS_UP.into());
}

impl Drop for Timeout {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
