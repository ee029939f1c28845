//! Gives memory back to the kernel after a burst of connections. glibc's allocator keeps what was freed, for the next burst.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::clients::Clients;

/// How often to look, and so how long memory stays after a burst at the most.
const INTERVAL: Duration = Duration::from_secs(3);

/// Fewer connections than this take little.
const BURST: usize = 32;

/// Gives memory back whenever there are far fewer connections than a moment ago. Never ends.
pub async fn give_back(clients: Arc<Clients>) {
    let mut most = 0;
    loop {
        sleep(INTERVAL).await;
        let (now, since) = clients.take_peak();
        most = since.max(most);
        if most >= now + BURST {
            trim();
            most = now;
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
