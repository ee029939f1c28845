//! Returns memory to the kernel after a burst of connections, on Linux with glibc. Its allocator keeps freed memory for the next burst.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::clients::Clients;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// A burst has at least this many connections. Fewer take little memory.
const BURST: usize = 32;

/// How often memory is returned after a burst. Instances end later than connections.
const TRIMS: u32 = 3;

/// Returns memory after the number of connections has fallen far. Never ends.
pub async fn give_back(clients: Arc<Clients>) {
    let (mut most, mut trims) = (0, 0);
    loop {
        sleep(INTERVAL).await;
        let (now, since) = clients.take_peak();
        most = since.max(most);
        if most >= now + BURST {
            most = now;
            trims = TRIMS;
        }
        if trims > 0 {
            trims -= 1;
            trim();
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    #[expect(unsafe_code, reason = "the allocator has no other interface")]
    // SAFETY: it takes a number, and may be called by any thread at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
