//! A TCP proxy between two real processes that does to bytes what networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// Nothing.
    #[default]
    Fair,
    /// Each piece comes later, by up to twice this many milliseconds.
    Slow(u64),
    /// One byte a write.
    Crumbs,
    /// So many bytes a write, each a millisecond after the one before.
    Drip(usize),
    /// The connection ends with a reset once so many bytes have passed; the next one has twice as many.
    CutAfter(u64),
    /// Bytes vanish and nobody is told.
    HalfOpen,
    /// Nobody answers.
    Closed,
}

/// Bytes read at a time.
const PIECE_BYTES: usize = 16 * 1024;

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    /// May change while bytes are under way.
    weather: watch::Sender<Weather>,
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own for connections to `upstream`.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream,
            weather: watch::Sender::new(Weather::Fair),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, address, task }
    }

    /// The address to dial instead, for gRPC.
    pub fn grpc_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Changes the weather, also of connections that stand.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes that came through, in both directions.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        if *shared.weather.borrow() == Weather::Closed {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(shared.upstream).await else { return };
            let reset = near.set_zero_linger().is_ok() && far.set_zero_linger().is_ok();
            debug_assert!(reset, "a dropped socket resets its connection");
            let patience = 1 << before.min(20);
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            // Whichever direction ends first ends the other: both sockets are dropped.
            tokio::select! {
                () = carry(near_in, far_out, &shared, patience) => {}
                () = carry(far_in, near_out, &shared, patience) => {}
            }
        });
    }
}

/// Carries bytes in one direction until an end is closed or the weather cuts it.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    patience: u64,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed = 0;
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        passed += read as u64;
        let (bytes, weather) = (&piece[..read], *shared.weather.borrow());
        let size = match weather {
            Weather::HalfOpen => continue,
            Weather::Closed => return,
            Weather::CutAfter(most) if passed > most.saturating_mul(patience) => return,
            Weather::Slow(most) => {
                let jitter = passed * 7_919 % (2 * most).max(1);
                sleep(Duration::from_millis(jitter)).await;
                read
            }
            Weather::Crumbs => 1,
            Weather::Drip(size) => size.max(1),
            Weather::Fair | Weather::CutAfter(_) => read,
        };
        for part in bytes.chunks(size) {
            if to.write_all(part).await.is_err() || to.flush().await.is_err() {
                return;
            }
            if matches!(weather, Weather::Drip(_)) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        shared.bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
