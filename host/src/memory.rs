//! Returns memory to the kernel after a burst of connections, on Linux with glibc. glibc's allocator would otherwise keep the freed memory.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::clients::Clients;

/// The time between two checks of the number of connections.
const INTERVAL: Duration = Duration::from_secs(2);

/// The minimum decrease in connections that counts as the end of a burst. Fewer connections take little memory.
const BURST: usize = 32;

/// How many times memory is returned after a burst. One time isn't enough, because instances may end 10 s after the connections.
const TRIMS: u32 = 8;

/// Returns memory to the kernel after each burst of connections. Never ends.
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
    // SAFETY: `malloc_trim` takes a number, and any thread may call it at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
