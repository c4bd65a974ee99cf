//! A connection that breaks at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Where the next transaction's connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// COMMIT never reaches the server, which rolls back.
    BeforeCommit,
    /// The server commits, its answer never reaches the client.
    AfterCommit,
    /// COMMIT never reaches the server, and nobody else does until [`Proxy::thaw`]: time for a crash.
    FrozenBeforeCommit,
    /// COMMIT reaches the server a while after the client was cut off: who asks at once finds the transaction
    /// still in progress.
    LateCommit(Duration),
}

/// Passes connections on to a server on this machine, and cuts one when told to.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    next: Arc<Mutex<Option<Cut>>>,
    is_frozen: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one in front of `port` on 127.0.0.1. It ends with the process.
    #[must_use]
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            next: Arc::default(),
            is_frozen: Arc::default(),
        };
        let next = Arc::clone(&proxy.next);
        let is_frozen = Arc::clone(&proxy.is_frozen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let next = Arc::clone(&next);
                let is_frozen = Arc::clone(&is_frozen);
                // Whoever cannot be connected finds the connection closed.
                if !is_frozen.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", port))
                {
                    thread::spawn(move || pass(&client, &server, &next, &is_frozen));
                }
            }
        });
        proxy
    }

    /// Port to connect to instead of the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Arms the proxy: the next COMMIT that any connection sends is cut.
    pub fn cut_next_commit(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some(cut);
    }

    /// Lets connections through again.
    pub fn thaw(&self) {
        self.is_frozen.store(false, Ordering::SeqCst);
    }

    /// True once the cut has been made.
    #[must_use]
    pub fn has_cut(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

/// Passes on both ways until one side closes or the cut is made.
fn pass(client: &TcpStream, server: &TcpStream, next: &Mutex<Option<Cut>>, is_frozen: &AtomicBool) {
    // tokio-postgres hands each request to the socket in one piece; larger ones cannot be a COMMIT's.
    let mut bytes = vec![0; 1 << 16];
    let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || copy(&from, &to));
    while let Ok(n @ 1..) = (&*client).read(&mut bytes) {
        let cut = if is_commit(&bytes[..n]) {
            next.lock().unwrap().take()
        } else {
            None
        };
        if cut == Some(Cut::FrozenBeforeCommit) {
            is_frozen.store(true, Ordering::SeqCst);
        }
        if cut.is_some() {
            client.shutdown(Shutdown::Both).ok();
        }
        match cut {
            Some(Cut::BeforeCommit) => break,
            Some(Cut::FrozenBeforeCommit) => {
                // The transaction stays open until the server is gone.
                back.join().ok();
                return;
            }
            Some(Cut::LateCommit(after)) => thread::sleep(after),
            Some(Cut::AfterCommit) | None => {}
        }
        if (&*server).write_all(&bytes[..n]).is_err() || cut.is_some() {
            break;
        }
    }
    // The server reads what was sent before it finds the end.
    server.shutdown(Shutdown::Write).ok();
    back.join().ok();
}

fn copy(from: &TcpStream, to: &TcpStream) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = (&*from).read(&mut bytes) {
        if (&*to).write_all(&bytes[..n]).is_err() {
            // The client is gone; the server still has its say.
            while let Ok(1..) = (&*from).read(&mut bytes) {}
            return;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}

/// The request is a COMMIT, by the simple or the extended protocol.
fn is_commit(bytes: &[u8]) -> bool {
    bytes.windows(7).any(|w| w == b"COMMIT\0")
}
