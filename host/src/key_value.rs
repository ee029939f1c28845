//! Implements `spin:key-value/key-value@3.0.0` for guests: the store "default", in memory, shared by all components that may use it. Its
//! contents are lost when the host ends. It never evicts values; a full store refuses new ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{Accessor, FutureReader, HasSelf, Resource, StreamReader};

use crate::bindings::spin::key_value::key_value::{Error, Host, HostStore, HostStoreWithStore};
use crate::guest::Guest;

/// The name of the only store. Spin also provides it without configuration.
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
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.contents().values.get(key).cloned()
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let mut contents = self.contents();
        let held = contents.held(&key);
        let bytes = contents.bytes - held + key.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(Error::Other(format!(
                "the store is full: it would be {bytes} bytes, and may be {MOST_BYTES}"
            )));
        }
        contents.bytes = bytes;
        contents.values.insert(key, value);
        Ok(())
    }

    fn delete(&self, key: &str) {
        let mut contents = self.contents();
        contents.bytes -= contents.held(key);
        contents.values.remove(key);
    }

    fn keys(&self) -> Vec<String> {
        self.contents().values.keys().cloned().collect()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Host for Guest {}

impl HostStore for Guest {
    async fn drop(&mut self, store: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

type Keys = (StreamReader<String>, FutureReader<Result<(), Error>>);

impl<T: Send> HostStoreWithStore<T> for HasSelf<Guest> {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Result<Resource<Opened>, Error> {
        accessor.with(|mut access| {
            let guest = access.get();
            let store = guest.app.key_value_store.clone();
            let store = store
                .filter(|_| label == LABEL)
                .ok_or(Error::AccessDenied)?;
            guest.table.push(store).map_err(host_failed)
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<Opened>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(opened(accessor, &store)?.get(&key))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<Opened>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        opened(accessor, &store)?.set(key, value)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<Opened>,
        key: String,
    ) -> Result<(), Error> {
        opened(accessor, &store)?.delete(&key);
        Ok(())
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<Opened>,
        key: String,
    ) -> Result<bool, Error> {
        Ok(opened(accessor, &store)?.get(&key).is_some())
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<Opened>,
    ) -> wasmtime::Result<Keys> {
        let keys = opened(accessor, &store).map(|store| store.keys());
        accessor.with(|mut access| {
            let (keys, outcome) = match keys {
                Ok(keys) => (keys, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            let outcome = async move { Ok::<_, wasmtime::Error>(outcome) };
            Ok((
                StreamReader::new(&mut access, keys)?,
                FutureReader::new(&mut access, outcome)?,
            ))
        })
    }
}

fn opened<T: Send>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    store: &Resource<Opened>,
) -> Result<Opened, Error> {
    accessor
        .with(|mut access| access.get().table.get(store).cloned())
        .map_err(host_failed)
}

fn host_failed(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
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
        assert_eq!(store.contents().bytes, 4);
        let mut keys = store.keys();
        keys.sort();
        assert_eq!(keys, ["a", "b"]);
        let full = store.set("c".to_owned(), vec![0; MOST_BYTES]).unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        assert_eq!(store.get("c"), None);
        store.delete("a");
        store.delete("a");
        assert_eq!(store.contents().bytes, 1);
        // A replaced value doesn't count.
        store.set("c".to_owned(), vec![0; MOST_BYTES - 2]).unwrap();
        store.set("c".to_owned(), vec![1; MOST_BYTES - 2]).unwrap();
    }
}
