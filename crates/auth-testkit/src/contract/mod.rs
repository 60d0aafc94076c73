//! The contract suites: what every implementation of a port must keep, one rule a function.
//!
//! A rule is an `async fn` over the port; [`throttle_contract!`](crate::throttle_contract) and
//! [`store_contract!`](crate::store_contract) expand into one test for each.

pub mod access_tokens;
pub mod audit_log;
pub mod directory;
pub mod hasher;
pub mod sessions;
pub mod signer;
pub mod stage;
pub mod throttle;
pub mod upkeep;

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

/// One test for each rule of the store. Takes an expression that makes a fresh [`Stage`](stage::Stage).
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::each_rule! { $make; sessions:
            an_opened_session_is_found_as_it_was_stored,
            an_unknown_session_is_none,
            tokens_of_the_older_service_find_their_session,
            an_unknown_token_of_the_older_service_finds_nothing,
            a_deleted_session_takes_its_older_tokens_along,
            a_sign_in_moves_the_last_login,
            a_sign_in_replaces_an_outdated_hash,
            a_sign_in_is_overtaken_by_a_new_password,
            a_sign_in_is_overtaken_by_deactivation,
            a_sign_in_is_overtaken_by_deletion,
            a_sign_in_is_overtaken_by_disabling_the_client,
            a_sign_in_is_overtaken_by_deleting_the_client,
            a_rotation_moves_the_head,
            a_superseded_rotation_writes_nothing,
            a_revoked_chain_does_not_rotate,
            a_live_chain_is_noticed_and_an_ended_or_expired_one_is_not,
            of_64_contenders_for_one_head_one_wins,
            a_revocation_is_stored_with_its_audit_row,
            a_second_revocation_changes_nothing_and_leaves_no_row,
            a_revocation_ends_its_target_and_nothing_else,
            deactivating_a_user_ends_the_chains_for_good,
            a_new_password_ends_the_chains,
            deleting_a_user_deletes_the_chains_and_not_the_trail,
            disabling_a_client_ends_its_chains,
            deleting_a_client_deletes_its_chains_and_not_the_trail,
            no_chain_survives_a_revocation_that_races_a_rotation,
        }
        $crate::each_rule! { $make; access_tokens:
            a_token_that_nobody_denied_is_good,
            a_denied_token_is_bad_and_others_are_not,
            a_second_denial_changes_nothing_and_leaves_no_row,
            a_token_is_bad_without_an_active_user_and_client,
            ended_denials_are_forgotten_in_bounded_batches,
            a_denial_is_seen_by_whoever_asks_after_it,
        }
        $crate::each_rule! { $make; audit_log:
            rows_are_read_in_pages_in_the_order_of_their_keys,
            the_tail_is_the_last_rows_with_the_oldest_first,
            a_span_of_time_is_exact_to_the_microsecond,
            each_filter_lets_through_what_it_names,
            filters_hold_together,
            a_hostile_filter_is_compared_and_never_run,
            a_row_is_read_as_it_was_written,
            trimming_deletes_the_oldest_rows_of_before_a_moment_in_bounded_batches,
            trimming_beside_writes_loses_none_of_them,
        }
        $crate::each_rule! { $make; upkeep:
            an_expired_token_leaves_the_history_and_its_chain_goes_on,
            tokens_are_swept_in_bounded_parts_from_the_oldest_on,
            a_sweep_ends_where_nothing_can_have_expired,
            an_expired_session_goes_and_a_revoked_one_no_sooner,
            sessions_are_swept_in_bounded_parts_from_the_oldest_on,
            sweeping_beside_rotations_breaks_no_chain,
            a_lease_has_one_holder_until_its_end,
            a_lease_of_a_clock_that_is_far_ahead_keeps_nobody_off,
            a_lease_is_given_back_by_its_holder_alone,
            leases_of_different_names_do_not_meet,
            of_many_who_ask_for_a_lease_at_once_one_has_it,
        }
        $crate::each_rule! { $make; directory:
            an_empty_store_is_founded_once,
            only_the_kind_that_is_missing_is_founded,
            of_founders_at_once_each_kind_is_stored_by_one,
            a_user_is_found_as_it_was_stored,
            a_user_is_found_by_name_and_by_address_in_any_case,
            names_and_addresses_are_unique,
            users_are_listed_by_name_in_pages,
            a_change_to_a_user_is_stored,
            a_change_to_an_unknown_user_writes_nothing,
            a_client_is_found_as_it_was_stored,
            client_identifiers_are_unique,
            clients_are_listed_by_identifier_in_pages,
            an_update_keeps_identity_secret_status_and_birth,
            a_client_is_switched_off_and_on,
            only_a_confidential_client_gets_a_new_secret,
            audit_rows_survive_the_round_trip,
            a_migrated_store_is_ready,
        }
    };
}

#[cfg(test)]
mod on_the_fake {
    use super::stage::Stage;
    use crate::fake::FakeStore;

    store_contract!(Stage::from(FakeStore::default()));
}

#[cfg(test)]
mod tests {
    /// A rule that no macro names would never be checked.
    #[test]
    fn every_rule_is_named_by_its_suite() {
        let named = concat!(include_str!("mod.rs"), include_str!("throttle.rs"));
        let suites = [
            include_str!("sessions.rs"),
            include_str!("access_tokens.rs"),
            include_str!("audit_log.rs"),
            include_str!("directory.rs"),
            include_str!("upkeep.rs"),
            include_str!("throttle.rs"),
        ];
        for line in suites.iter().flat_map(|suite| suite.lines()) {
            let Some((rule, _)) = line
                .strip_prefix("pub async fn ")
                .and_then(|rest| rest.split_once('('))
            else {
                continue;
            };
            assert!(named.contains(&format!("{rule},")), "{rule} is in no suite");
        }
    }
}
