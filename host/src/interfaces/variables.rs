//! Implements the interface `spin:variables/variables@3.0.0`, by which a guest reads its component's variables.

use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::spin::variables::variables::{Error, Host, HostWithStore};
use crate::guest::Guest;

impl Host for Guest {}

impl<T: Send> HostWithStore<T> for HasSelf<Guest> {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, Error> {
        accessor.with(|mut access| access.get().app.variables.get(&name))
    }
}
