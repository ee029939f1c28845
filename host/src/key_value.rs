//! The only key-value store, "default". All components that may open it share its contents. They are in memory, so they are lost when the host
//! ends. A full store refuses new values instead of evicting old ones. The interface that guests call is in `interfaces/key_value.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// The name of the only store, which Spin also provides without configuration.
pub const LABEL: &str = "default";

/// The maximum size of all keys and values together.
const MOST_BYTES: usize = 256 << 20;

/// All keys and their values.
#[derive(Debug, Default)]
pub struct Store(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    values: HashMap<String, Vec<u8>>,
    bytes: usize,
}

/// A store that a guest has opened.
pub type Opened = Arc<Store>;

impl Store {
    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.0).values.get(key).cloned()
    }

    /// Sets the value of a key. Fails if the store is full.
    pub fn set(&self, key: String, value: Vec<u8>) -> Result<(), String> {
        let mut contents = lock(&self.0);
        let held = contents.held(&key);
        let bytes = contents.bytes - held + key.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(format!(
                "the store is full: with this value it would have {bytes} bytes, more than the limit of {MOST_BYTES}"
            ));
        }
        contents.bytes = bytes;
        contents.values.insert(key, value);
        Ok(())
    }

    /// Removes a key, which need not exist.
    pub fn delete(&self, key: &str) {
        let mut contents = lock(&self.0);
        contents.bytes -= contents.held(key);
        contents.values.remove(key);
    }

    /// Returns all keys, in no particular order.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.0).values.keys().cloned().collect()
    }
}

impl Contents {
    /// Returns the size in bytes of a stored key and its value, or 0 if the key isn't stored.
    fn held(&self, key: &str) -> usize {
        self.values
            .get(key)
            .map_or(0, |value| key.len() + value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_accepts_values_until_it_is_full() {
        let store = Store::default();
        assert_eq!(store.get("a"), None);
        store.set("a".to_owned(), vec![1]).unwrap();
        store.set("a".to_owned(), vec![2, 3]).unwrap();
        store.set("b".to_owned(), vec![]).unwrap();
        assert_eq!(store.get("a"), Some(vec![2, 3]));
        assert_eq!(lock(&store.0).bytes, 4);
        let mut keys = store.keys();
        keys.sort();
        assert_eq!(keys, ["a", "b"]);
        let full = store.set("c".to_owned(), vec![0; MOST_BYTES]).unwrap_err();
        assert!(full.contains("full"), "{full}");
        assert_eq!(store.get("c"), None);
        store.delete("a");
        store.delete("a");
        assert_eq!(lock(&store.0).bytes, 1);
        // A replaced value no longer counts towards the limit.
        store.set("c".to_owned(), vec![0; MOST_BYTES - 2]).unwrap();
        store.set("c".to_owned(), vec![1; MOST_BYTES - 2]).unwrap();
    }
}
