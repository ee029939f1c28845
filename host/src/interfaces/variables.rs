//! `spin:variables/variables@3.0.0`: the component's variables.

use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::spin::variables::variables::{Error, Host, HostWithStore};
use crate::guest::Guest;
use crate::variables::NoValue;

impl Host for Guest {}

impl<T: Send> HostWithStore<T> for HasSelf<Guest> {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, Error> {
        let value = accessor.with(|mut access| access.get().app.variables.get(&name));
        value.map_err(|no_value| match no_value {
            NoValue::InvalidName(text) => Error::InvalidName(text),
            NoValue::Undefined(text) => Error::Undefined(text),
        })
    }
}
