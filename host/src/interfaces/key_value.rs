//! Implements the interface `spin:key-value/key-value@3.0.0`, which gives guests access to the store in `key_value.rs`.

use wasmtime::component::{Accessor, FutureReader, HasSelf, Resource, StreamReader};

use crate::bindings::spin::key_value::key_value::{Error, Host, HostStore, HostStoreWithStore};
use crate::guest::Guest;
use crate::key_value::{LABEL, Opened};

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
        opened(accessor, &store)?
            .set(key, value)
            .map_err(Error::Other)
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
