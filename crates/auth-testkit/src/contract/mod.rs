//! The contract suites: what every implementation of a port must keep, one rule a function.
//!
//! A rule is an `async fn` over the port; [`throttle_contract!`](crate::throttle_contract) and
//! [`store_contract!`](crate::store_contract) expand into one test for each.

pub mod hasher;
pub mod signer;
pub mod throttle;

/// One test for each named rule of a suite, each on its own fresh subject.
#[macro_export]
macro_rules! each_rule {
    ($make:expr; $suite:ident: $($rule:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::contract::$suite::$rule($make).await;
            }
        )+
    };
}
