//! Idempotent writes: a write with an Idempotency-Key is executed once, and a repetition gets the first answer. The function `write_once` of
//! migration 0007 checks the key and executes the write in one statement.

use crate::db::{Access, Db, Effect, Statement};

pub(super) static WRITE_ONCE: Statement = Statement {
    name: "write_once",
    sql: constcat::concat![
        "SELECT json, note FROM public.write_once($1::text, $2::text, $3::text, $4::text[])"
    ],
    effect: Effect::Writes(&["idempotency_keys"]),
    access: Access::Inserts(&["idempotency_keys_pkey"]),
    max_rows: 1,
};

/// Returns access that executes each write only once for this idempotency key.
#[must_use]
pub fn keyed(db: Db, key: String) -> Db {
    db.keyed(key, &WRITE_ONCE)
}
