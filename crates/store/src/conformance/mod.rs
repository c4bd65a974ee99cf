//! What every adapter must do, as tests. An adapter's test file calls [`conformance_tests!`] with a
//! function that makes an empty store; each claim becomes one `#[test]`.
//!
//! [`conformance_tests!`]: crate::conformance_tests

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "tests, kept here so that every adapter can run them: a failed expectation panics, and the names are the claims"
)]

pub mod desk;
pub mod differential;
pub mod fixtures;
pub mod outbox;
pub mod records;
pub mod registry;
pub mod stock;
pub mod telemetry;

use std::sync::Arc;

use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;

use crate::Store;

/// Runs one case against a fresh store. What `make` returns beside the store is kept until the end, such
/// as the directory the store lives in.
pub fn run<G>(
    make: impl AsyncFnOnce(Catalogue, Timestamp) -> (Arc<dyn Store>, G),
    case: impl AsyncFnOnce(Arc<dyn Store>),
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, _kept) = make(fixtures::catalogue(), fixtures::hour(0)).await;
        case(store).await;
    });
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_group {
    ($make:path, $group:ident, [$($case:ident),* $(,)?]) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run($make, $crate::conformance::$group::$case);
            }
        )*
    };
}

/// One `#[test]` per claim. `$make` is an `async fn(Catalogue, Timestamp) -> (Arc<dyn Store>, G)` that makes
/// an empty store for that catalogue, its initial stock booked at that time.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_group!(
            $make,
            telemetry,
            [
                same_batch_twice_counts_once,
                duplicates_inside_a_batch_count_once,
                order_of_arrival_does_not_matter,
                messages_of_one_time_merge,
                first_value_stays_and_each_other_is_recorded_once,
                metrics_beyond_the_catalogue_are_kept,
                minus_zero_is_zero,
                a_poison_row_is_dead_lettered_and_its_company_stored,
                rows_after_are_in_order_and_after,
                newest_reading_is_the_newest,
                latest_rows_are_the_newest_by_time_and_merged,
                latest_rows_are_those_of_registered_assets,
                series_equal_brute_force,
                series_of_nothing_are_empty,
                gaps_between_readings_are_filled_as_asked,
                fingerprint_is_the_sum_of_its_readings,
                extremes_of_time_and_value_survive,
            ]
        );
        $crate::conformance_group!(
            $make,
            records,
            [
                rejections_are_kept_and_counted,
                events_are_kept_once,
                newest_checkpoint_status_and_health_are_kept,
                alarm_changes_keep_the_acknowledgement,
                late_alarm_change_does_not_turn_back_time,
                pages_walk_everything_once,
                assets_are_replaced_but_not_their_birthday,
                one_asset_and_its_health_are_found,
                auto_registration_leaves_known_assets_alone,
                impossible_assets_are_refused_whole,
                credentials_settings_and_windows_are_kept,
            ]
        );
        $crate::conformance_group!(
            $make,
            desk,
            [
                tasks_are_handed_out_in_order_and_done_once,
                one_open_ticket_per_asset_and_mode,
                what_no_alarm_opened_has_keys_of_its_own,
                booked_minutes_are_added_up_by_ticket,
                entries_and_files_are_kept_with_their_ticket,
                children_are_found_by_their_parent,
                a_stale_version_changes_nothing,
                an_idempotency_key_returns_the_first_outcome,
                ticket_and_reservation_come_together,
                a_failing_step_leaves_nothing_behind,
                reopening_beside_an_open_ticket_is_refused,
                decisions_and_labels_are_kept,
            ]
        );
        $crate::conformance_group!(
            $make,
            stock,
            [
                initial_stock_is_booked_as_receipts,
                holds_count_against_stock_by_kind,
                released_and_expired_holds_free_their_parts,
                consumed_parts_leave_the_shelf,
                transfers_are_booked_at_both_depots,
                higher_claims_preempt_soft_holds_and_victims_are_served_anew,
                receipts_serve_back_orders_by_priority_then_age,
                needs_of_an_open_ticket_are_reserved_later,
                a_smaller_hold_keeps_its_parts_and_serves_who_waits,
                a_reservation_changed_meanwhile_is_left_alone,
                scrap_spares_what_is_held,
                stock_commands_count_once,
                a_ticket_is_issued_what_is_held_for_it_then_what_is_free,
                free_parts_issued_stand_in_for_those_on_order,
                a_cost_centre_is_issued_only_what_nobody_holds,
                no_more_comes_back_than_went_out,
                a_transfer_leaves_one_place_and_reaches_the_other,
                vans_and_depots_on_record_hold_stock,
                a_count_sets_the_shelf_and_says_why,
                a_count_below_what_is_held_says_what_became_short,
                a_key_used_for_another_movement_is_refused,
                receipts_count_towards_the_order_they_name,
                old_stock_goes_first_and_its_successor_is_ordered,
                a_substitute_is_taken_where_the_part_would_be_late,
                a_victim_asks_again_for_what_it_had_asked_for,
                pieces_are_followed_by_serial_number,
                a_ticket_uses_the_pieces_that_are_named,
                batches_are_counted,
                unknown_parts_and_depots_are_named,
                never_oversold_by_many_clients,
            ]
        );
        $crate::conformance_group!(
            $make,
            registry,
            [
                the_same_record_again_writes_nothing,
                every_kind_of_record_reads_back_as_written,
                a_list_of_records_is_stored_whole_or_not_at_all,
                a_record_version_that_moved_on_is_refused,
                records_are_paged_by_id_and_found,
                history_keeps_every_version_with_who_and_when,
                changes_are_read_in_order_each_once,
                what_others_refer_to_cannot_go,
                a_file_is_kept_once,
                an_erased_person_is_in_no_version,
                an_erased_person_is_in_no_delivery,
                an_erased_technician_is_in_no_delivery,
                concurrent_writers_lose_no_version,
                references_hold_beside_concurrent_deletes,
            ]
        );
        $crate::conformance_group!(
            $make,
            outbox,
            [
                notices_come_with_what_caused_them,
                a_keyed_step_is_told_once,
                what_a_rule_says_is_told_once_beside_tickets,
                parts_that_come_late_are_told,
                a_notice_is_routed_once,
                nobody_gets_a_notice_twice_by_the_same_channel,
                deliveries_fall_due_in_order_and_attempts_count_once,
                dead_letters_are_listed_and_retried,
                a_message_is_kept_once_until_it_is_settled,
                a_message_of_an_erased_person_is_gone,
                the_newest_answer_of_a_customer_counts,
                a_ticket_that_closes_is_told,
            ]
        );
        $crate::conformance_group!(
            $make,
            differential,
            [
                random_telemetry_equals_the_model,
                random_desk_work_equals_the_model,
            ]
        );
    };
}
