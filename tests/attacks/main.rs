//! Attacks on the API from outside, each carried out as an attacker would. Honest clients must not notice.

mod clients;
