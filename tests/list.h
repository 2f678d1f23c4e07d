/* The only registration of tests: one line each. CMakeLists.txt makes an executable and a CTest entry of every TESTS_name here, from test_name.c. A test body
 * is static, so one that is not in its list does not compile (-Werror=unused-function), nor does a name here that has no body. */
#ifndef CADRE_TESTS_LIST_H
#define CADRE_TESTS_LIST_H

#define TESTS_errors(X)                                                                                                                                        \
    X(every_error_has_its_value_name_and_message)                                                                                                              \
    X(libuvs_errors_keep_their_names)                                                                                                                          \
    X(strerror_is_safe_for_any_int)                                                                                                                            \
    X(capabilities_and_states_have_names)                                                                                                                      \
    X(the_version_is_the_headers)                                                                                                                              \
    X(every_init_macro_fills_in_size_and_sentinels)                                                                                                            \
    X(the_library_exports_only_its_public_names)                                                                                                               \
    X(the_check_of_exports_sees_a_planted_name)

#define TESTS_futures(X)                                                                                                                                       \
    X(a_ready_future_is_resolved_from_the_start)                                                                                                               \
    X(a_failed_future_has_its_error_and_detail)                                                                                                                \
    X(a_promise_resolves_from_any_thread)                                                                                                                      \
    X(the_second_resolve_is_already_and_destroyed_off_the_loop)                                                                                                \
    X(a_failed_promise_tells_everyone_why)                                                                                                                     \
    X(a_dropped_promise_fails_with_eabandoned)                                                                                                                 \
    X(whatever_ends_a_future_first_wins_and_tells_the_promise)                                                                                                 \
    X(a_later_deadline_replaces_an_earlier_one_and_never_removes_it)                                                                                           \
    X(cancelling_a_settled_future_changes_nothing)                                                                                                             \
    X(on_cancel_of_a_settled_future_runs_on_the_next_turn)                                                                                                     \
    X(on_cancel_does_not_run_for_a_promise_that_was_kept)                                                                                                      \
    X(progress_is_coalesced_and_the_last_report_arrives)                                                                                                       \
    X(a_waiter_holds_a_reference_until_it_has_run)                                                                                                             \
    X(a_waiter_may_wait_again_from_inside_its_callback)                                                                                                        \
    X(a_promise_held_past_close_answers_eclosed_and_consumes_nothing)                                                                                          \
    X(a_promise_of_a_closing_pool_cannot_be_made)                                                                                                              \
    X(each_type_of_value_is_destroyed_when_nobody_takes_it)                                                                                                    \
    X(a_waiter_may_end_those_who_wait_behind_it)                                                                                                               \
    X(a_race_of_two_resolvers_and_a_cancel_settles_each_future_once)

#define TESTS_spawn(X)                                                                                                                                         \
    X(after_ready_nothing_tells_the_kind_and_the_reservation_comes_back_after_destroy)                                                                         \
    X(a_failed_load_tells_its_error_and_detail)                                                                                                                \
    X(a_failing_make_function_fails_the_load)                                                                                                                  \
    X(a_failing_attach_fails_the_spawn_and_destroys_on_the_workers_thread)                                                                                     \
    X(stop_before_the_load_starts_is_ecanceled)                                                                                                                \
    X(stop_while_loading_is_heard_at_once_and_the_late_model_is_destroyed)                                                                                     \
    X(stop_while_attaching_is_ecanceled)                                                                                                                       \
    X(a_load_has_a_deadline)                                                                                                                                   \
    X(a_load_that_falls_silent_is_failed)                                                                                                                      \
    X(a_load_may_be_resolved_from_another_thread)                                                                                                              \
    X(a_load_resolved_twice_keeps_the_first)                                                                                                                   \
    X(a_dropped_promise_fails_the_load)                                                                                                                        \
    X(a_loader_that_returns_null_is_eload)                                                                                                                     \
    X(close_ends_a_load)                                                                                                                                       \
    X(a_load_that_never_returns_is_replaced_and_later_loads_go_on)                                                                                             \
    X(a_worker_may_be_spawned_and_stopped_from_a_callback)                                                                                                     \
    X(the_pool_may_be_closed_from_on_ready)                                                                                                                    \
    X(workers_of_one_key_serve_one_queue)                                                                                                                      \
    X(shared_weights_are_loaded_once_for_many_workers)                                                                                                         \
    X(as_many_loads_run_at_once_as_there_are_loader_threads)                                                                                                   \
    X(a_small_load_is_not_stuck_behind_a_big_one)                                                                                                              \
    X(a_cancelled_load_that_waits_for_a_thread_is_never_begun)

#define TESTS_requests(X)                                                                                                                                      \
    X(every_field_of_a_text_request_arrives)                                                                                                                   \
    X(a_chat_arrives_message_by_message_and_defaults_as_sentinels)                                                                                             \
    X(every_field_of_a_vision_request_arrives)                                                                                                                 \
    X(every_field_of_a_text_to_image_request_arrives_and_steps_are_told)                                                                                       \
    X(a_batch_of_texts_is_cut_and_put_together_in_order)                                                                                                       \
    X(a_batch_of_pictures_is_cut_and_put_together_in_order)                                                                                                    \
    X(small_requests_of_one_task_share_a_batch)                                                                                                                \
    X(a_batch_waits_at_most_its_window)                                                                                                                        \
    X(a_text_that_fails_fails_its_own_request_only)                                                                                                            \
    X(a_text_that_is_too_long_is_an_error_unless_it_may_be_cut)                                                                                                \
    X(an_operation_that_fails_tells_why_and_the_worker_goes_on)                                                                                                \
    X(an_unstreamed_answer_comes_whole)                                                                                                                        \
    X(lent_inputs_are_given_back_once_after_the_workers_last_read)                                                                                             \
    X(a_refused_request_gives_its_inputs_back_before_the_return)                                                                                               \
    X(a_key_of_another_capability_is_refused)                                                                                                                  \
    X(the_busy_workers_share_the_cores)

#define TESTS_images(X)                                                                                                                                        \
    X(every_form_of_picture_reaches_the_model_decoded)                                                                                                         \
    X(forms_without_a_decoder_or_fetcher_are_enotsup)                                                                                                          \
    X(one_bad_picture_of_a_batch_fails_the_request)

#define TESTS_urls(X)                                                                                                                                          \
    X(pictures_are_fetched_while_the_model_is_loaded)                                                                                                          \
    X(pictures_of_a_request_are_fetched_side_by_side)                                                                                                          \
    X(a_fetched_request_takes_the_place_of_its_arrival)                                                                                                        \
    X(encoded_bytes_go_when_they_are_decoded)                                                                                                                  \
    X(lent_urls_are_given_back_once)                                                                                                                           \
    X(the_first_failure_ends_the_request)                                                                                                                      \
    X(what_a_fetcher_brings_is_checked)                                                                                                                        \
    X(failures_of_fetching_are_not_the_models)                                                                                                                 \
    X(fetching_requests_fill_the_queue)                                                                                                                        \
    X(a_cancel_and_a_deadline_let_go_of_what_is_fetched)                                                                                                       \
    X(a_cancel_in_the_turn_in_which_a_fetch_ends_is_told_once)                                                                                                 \
    X(a_fetcher_may_end_the_request_or_close_the_pool)                                                                                                         \
    X(a_close_drains_and_cancels_fetches)                                                                                                                      \
    X(a_load_that_fails_ends_who_fetches)                                                                                                                      \
    X(a_removal_serves_who_was_accepted)                                                                                                                       \
    X(who_only_fetches_gives_its_memory_to_who_works)                                                                                                          \
    X(who_waits_for_a_key_fetches_meanwhile)                                                                                                                   \
    X(jobs_that_are_queued_again_keep_their_pictures)

#define TESTS_defaults(X)                                                                                                                                      \
    X(an_entrys_sampling_stands_in_where_a_request_has_none)                                                                                                   \
    X(an_entry_may_have_some_defaults_or_none)                                                                                                                 \
    X(an_entrys_picture_parameters_stand_in)                                                                                                                   \
    X(defaults_are_those_of_a_key_that_was_not_known_yet)                                                                                                      \
    X(defaults_of_a_manifest_and_of_a_typed_loader_stand_in)                                                                                                   \
    X(a_model_must_have_the_dimension_that_its_entry_says)

#define TESTS_cancel(X)                                                                                                                                        \
    X(a_cancel_is_heard_at_once_in_every_state)                                                                                                                \
    X(a_cancel_by_the_port_is_heard_in_every_state)                                                                                                            \
    X(a_deadline_is_heard_at_once_in_every_state)                                                                                                              \
    X(the_end_of_a_drain_is_heard_in_every_state)                                                                                                              \
    X(a_request_that_is_done_is_stale)                                                                                                                         \
    X(a_cancelled_operation_sees_it)                                                                                                                           \
    X(one_cancelled_slot_leaves_the_others_alone)                                                                                                              \
    X(a_cancelled_batch_request_stops_between_its_batches)

#define TESTS_queue(X)                                                                                                                                         \
    X(a_full_queue_refuses_at_once_and_takes_one_for_each_that_leaves)                                                                                         \
    X(expiry_empties_the_queue)                                                                                                                                \
    X(the_default_capacities_are_those_of_the_documentation)                                                                                                   \
    X(ten_thousand_requests_wait_for_one_load)                                                                                                                 \
    X(the_highest_priority_goes_first_and_within_one_the_oldest)                                                                                               \
    X(a_request_rises_one_priority_per_aging_ms)                                                                                                               \
    X(a_slot_without_room_has_the_request_queued_again)                                                                                                        \
    X(a_request_that_is_queued_again_can_be_cancelled_and_times_out)                                                                                           \
    X(a_failing_step_fails_all_its_slots_and_the_worker_goes_on)                                                                                               \
    X(a_failed_load_fails_those_who_wait_with_its_reason)                                                                                                      \
    X(those_who_wait_go_on_waiting_while_another_load_can_serve_them)                                                                                          \
    X(a_request_that_joins_just_after_a_failed_load_does_not_wait_for_ever)                                                                                    \
    X(a_stopped_worker_finishes_what_it_runs_and_the_rest_fails_or_moves)

#define TESTS_stream(X)                                                                                                                                        \
    X(pieces_arrive_in_order_and_complete)                                                                                                                     \
    X(a_paused_slot_rests_at_its_window_while_others_go_on)                                                                                                    \
    X(a_paused_generate_holds_at_most_its_window)                                                                                                              \
    X(a_paused_generate_ends_by_cancel_deadline_and_close)                                                                                                     \
    X(a_pause_before_the_first_piece_holds_it_back)                                                                                                            \
    X(only_streams_can_be_paused)                                                                                                                              \
    X(after_a_cancel_no_piece_and_no_step_is_told)                                                                                                             \
    X(callbacks_may_submit_stop_and_close)

#define TESTS_close(X)                                                                                                                                         \
    X(an_idle_pool_does_not_hold_the_loop)                                                                                                                     \
    X(a_host_that_runs_its_loop_once_at_a_time_is_not_held_after_a_callback)                                                                                   \
    X(a_close_with_nothing_to_do_calls_back_once_and_never_inside)                                                                                             \
    X(a_close_needs_no_callback_and_no_options)                                                                                                                \
    X(what_was_accepted_is_drained_and_nothing_new_is_taken)                                                                                                   \
    X(a_drain_of_zero_cancels_at_once)                                                                                                                         \
    X(a_thread_that_does_not_return_is_abandoned_and_counted)                                                                                                  \
    X(weights_that_the_host_still_holds_are_counted_and_destroyed_by_the_last_release)                                                                         \
    X(charged_weights_held_past_close_leave_nothing)                                                                                                           \
    X(a_reservation_released_after_close_leaves_nothing)                                                                                                       \
    X(weights_released_while_close_waits_are_not_counted)                                                                                                      \
    X(posts_run_once_in_order_and_before_the_close_callback)                                                                                                   \
    X(after_close_the_port_answers_eclosed)                                                                                                                    \
    X(every_accepted_post_runs_even_in_a_race_with_close)                                                                                                      \
    X(a_burst_is_served_in_parts)                                                                                                                              \
    X(a_race_of_late_resolves_with_the_end_of_close_loses_no_value)                                                                                            \
    X(two_pools_on_two_loops_do_not_meet)                                                                                                                      \
    X(two_pools_share_a_loop)                                                                                                                                  \
    X(a_thousand_pools_leave_nothing)

#define TESTS_memory(X)                                                                                                                                        \
    X(a_reservation_is_whole_or_not_at_all)                                                                                                                    \
    X(the_sum_of_live_reservations_is_what_is_charged)                                                                                                         \
    X(the_usage_tells_budgets)                                                                                                                                 \
    X(the_default_budget_is_a_part_of_the_machine)                                                                                                             \
    X(weights_give_their_reservation_back_when_the_payload_is_gone)                                                                                            \
    X(a_load_of_weights_consumes_its_reservation)                                                                                                              \
    X(a_reservation_left_over_is_given_back_by_the_host_after_close_began)

#define TESTS_input(X)                                                                                                                                         \
    X(text_requests)                                                                                                                                           \
    X(vision_requests)                                                                                                                                         \
    X(embedding_requests)                                                                                                                                      \
    X(image_embedding_requests)                                                                                                                                \
    X(text_to_image_requests)                                                                                                                                  \
    X(spawns_consume_what_they_refuse)                                                                                                                         \
    X(values_of_the_wrong_type_or_size_are_not_consumed)                                                                                                       \
    X(nulls_and_stale_handles)                                                                                                                                 \
    X(pool_options_out_of_range)                                                                                                                               \
    X(structs_of_an_older_header_are_accepted)                                                                                                                 \
    X(an_error_detail_is_empty_before_the_first_error)

#define REGISTRY_TESTS_nomem(X)                                                                                                                                \
    X(without_memory_a_registry_entry_fails_cleanly)                                                                                                           \
    X(without_memory_reservations_that_wait_fail_cleanly)                                                                                                      \
    X(without_memory_files_that_are_fetched_fail_cleanly)                                                                                                      \
    X(without_memory_a_manifest_fails_cleanly)
#define TESTS_nomem(X)                                                                                                                                         \
    X(without_memory_futures_and_posts_fail_cleanly)                                                                                                           \
    X(without_memory_text_by_slots_fails_cleanly)                                                                                                              \
    X(without_memory_text_one_at_a_time_fails_cleanly)                                                                                                         \
    X(without_memory_vision_fails_cleanly)                                                                                                                     \
    X(without_memory_text_embedding_fails_cleanly)                                                                                                             \
    X(without_memory_image_embedding_fails_cleanly)                                                                                                            \
    X(without_memory_text_to_image_fails_cleanly)                                                                                                              \
    X(without_memory_waiting_for_a_load_fails_cleanly)                                                                                                         \
    X(without_memory_a_cancelled_load_fails_cleanly)                                                                                                           \
    X(without_memory_troubled_requests_fail_cleanly)                                                                                                           \
    X(without_memory_forms_of_pictures_fail_cleanly)                                                                                                           \
    X(without_memory_pictures_by_url_fail_cleanly)                                                                                                             \
    X(without_memory_many_keys_fail_cleanly)                                                                                                                   \
    X(without_memory_weights_and_promises_fail_cleanly)                                                                                                        \
    REGISTRY_TESTS_nomem(X)

#define TESTS_stress(X)                                                                                                                                        \
    X(promises_race_with_futures_and_close)                                                                                                                    \
    X(weights_race_with_the_reaper_and_close)                                                                                                                  \
    X(ports_race_with_requests_of_every_kind_and_close)                                                                                                        \
    X(loads_and_operations_race_with_stops_and_close)

#define TESTS_system(X)                                                                                                                                        \
    X(threads_that_cannot_be_started_fail_cleanly)                                                                                                             \
    X(a_pool_without_a_thread_works_again_when_there_are_some)                                                                                                 \
    X(without_descriptors_no_pool_is_made)                                                                                                                     \
    X(a_loop_that_takes_no_handle_makes_no_pool)                                                                                                               \
    X(a_pool_that_is_there_lives_without_descriptors)                                                                                                          \
    X(the_default_budget_is_a_part_of_the_cgroups_memory)                                                                                                      \
    X(the_cores_are_a_part_of_the_cgroups_quota)

#define TESTS_blocking(X)                                                                                                                                      \
    X(no_source_outside_the_executors_names_a_blocking_call)                                                                                                   \
    X(the_scan_sees_planted_calls)                                                                                                                             \
    X(the_interposer_sees_each_blocking_call_on_the_loop_and_none_elsewhere)                                                                                   \
    X(the_loop_gives_the_processor_up_in_the_poll_only)                                                                                                        \
    X(the_count_of_switches_sees_a_planted_wait)                                                                                                               \
    X(the_allocator_sees_a_leak_and_a_wrong_size)

#define TESTS_observe(X)                                                                                                                                       \
    X(events_have_names)                                                                                                                                       \
    X(what_is_not_a_pool_or_a_snapshot_is_refused)                                                                                                             \
    X(a_snapshot_counts_what_was_done)                                                                                                                         \
    X(times_fall_into_the_buckets_that_the_header_says)                                                                                                        \
    X(the_end_of_a_worker_is_told_in_order_and_never_inside_a_call)                                                                                            \
    X(a_close_tells_of_its_workers_before_its_callback)                                                                                                        \
    X(prometheus_text_is_valid_and_true)                                                                                                                       \
    X(the_check_of_prometheus_text_sees_planted_faults)                                                                                                        \
    X(health_is_true)                                                                                                                                          \
    X(loads_of_the_registry_are_seen_everywhere)

#define TESTS_trace(X)                                                                                                                                         \
    X(a_trace_has_a_span_for_each_load_and_request)                                                                                                            \
    X(a_trace_of_nothing_is_complete)                                                                                                                          \
    X(a_trace_that_cannot_be_written_stops_alone)                                                                                                              \
    X(a_trace_without_its_end_can_be_read)                                                                                                                     \
    X(what_a_trace_cannot_keep_is_dropped_and_counted)                                                                                                         \
    X(a_trace_ends_with_an_abandoned_reaper)                                                                                                                   \
    X(seeing_inside_survives_a_want_of_memory)

#define TESTS_manifest(X)                                                                                                                                      \
    X(everything_an_entry_says_arrives)                                                                                                                        \
    X(what_a_manifest_leaves_out_stands_at_its_default)                                                                                                        \
    X(names_of_a_manifest_are_those_of_the_library)                                                                                                            \
    X(every_message_of_a_manifest_says_where)                                                                                                                  \
    X(a_manifest_without_a_name_is_called_manifest)                                                                                                            \
    X(messages_are_cut_at_a_code_point)                                                                                                                        \
    X(the_largest_manifest_is_4_mib)                                                                                                                           \
    X(many_models_are_read_in_order)                                                                                                                           \
    X(options_of_a_manifest_keep_their_place)                                                                                                                  \
    X(the_schema_and_the_library_agree_on_the_samples)                                                                                                         \
    X(without_memory_a_manifest_fails_cleanly)                                                                                                                 \
    X(without_memory_for_the_tree_a_manifest_fails_cleanly)

#define TESTS_entry(X)                                                                                                                                         \
    X(texts_of_an_entry_are_checked)                                                                                                                           \
    X(numbers_of_an_entry_are_checked)                                                                                                                         \
    X(memory_of_an_entry_is_checked)                                                                                                                           \
    X(files_of_an_entry_are_checked)                                                                                                                           \
    X(defaults_of_an_entry_are_checked)                                                                                                                        \
    X(an_entry_with_a_loader_needs_no_backend)                                                                                                                 \
    X(a_copy_of_an_entry_shares_nothing_with_it)                                                                                                               \
    X(every_type_of_option_arrives)                                                                                                                            \
    X(relative_paths_begin_at_the_folder)                                                                                                                      \
    X(every_message_of_options_says_where)                                                                                                                     \
    X(texts_are_64_of_64_kib)                                                                                                                                  \
    X(the_nearest_name_is_at_most_a_third_away)                                                                                                                \
    X(without_memory_options_and_copies_fail_cleanly)

#define TESTS_hang(X)                                                                                                                                          \
    X(a_worker_that_hangs_is_set_aside_and_replaced)                                                                                                           \
    X(what_a_hung_worker_had_not_begun_goes_to_another)                                                                                                        \
    X(signs_of_life_keep_a_worker)                                                                                                                             \
    X(the_entry_says_when_a_worker_hangs)                                                                                                                      \
    X(a_hung_worker_gives_its_place_to_one_more_load_only_when_there_is_memory)                                                                                \
    X(a_worker_that_says_it_is_broken_is_replaced)                                                                                                             \
    X(nothing_more_is_begun_on_a_broken_worker)

#define TESTS_kinds(X)                                                                                                                                         \
    X(every_call_of_every_capability_is_served_by_every_kind)                                                                                                  \
    X(a_removal_closes_every_kind)                                                                                                                             \
    X(a_failed_load_of_every_kind_is_told_and_tried_again)                                                                                                     \
    X(a_close_ends_a_load_of_every_kind)                                                                                                                       \
    X(several_workers_share_weights_or_do_not)

#define TESTS_registry(X)                                                                                                                                      \
    X(a_manifest_is_read_from_a_file_and_from_memory)                                                                                                          \
    X(an_empty_manifest_adds_nothing)                                                                                                                          \
    X(each_wrong_manifest_is_told_with_its_place_and_changes_nothing)                                                                                          \
    X(files_that_are_no_manifests_are_refused)                                                                                                                 \
    X(text_above_4_mib_is_refused_at_once)                                                                                                                     \
    X(a_wrong_entry_from_c_is_refused_and_names_the_field)                                                                                                     \
    X(a_module_is_found_by_its_name)                                                                                                                           \
    X(what_is_no_module_is_refused)                                                                                                                            \
    X(a_backend_is_checked_when_it_is_registered)                                                                                                              \
    X(entries_are_found_by_what_they_are)                                                                                                                      \
    X(a_key_has_one_owner)

#define TESTS_additions(X)                                                                                                                                     \
    X(a_request_may_come_before_its_addition_is_over)                                                                                                          \
    X(who_waits_for_an_addition_that_fails_hears_why)                                                                                                          \
    X(a_request_of_another_capability_is_told_when_the_key_is_known)                                                                                           \
    X(a_thousand_unknown_keys_wait_and_no_more)                                                                                                                \
    X(a_request_for_an_unknown_key_keeps_its_deadline)                                                                                                         \
    X(a_close_ends_additions)                                                                                                                                  \
    X(a_check_that_never_returns_does_not_hold_up_the_close)                                                                                                   \
    X(a_removal_serves_what_was_accepted_and_refuses_the_rest)                                                                                                 \
    X(what_is_loading_is_not_removed)                                                                                                                          \
    X(a_cold_model_is_removed_at_once_and_many_are_removed_together)                                                                                           \
    X(a_removal_overtakes_min_workers_and_pins)                                                                                                                \
    X(a_close_ends_a_removal_and_an_unload)

#define TESTS_cores(X)                                                                                                                                         \
    X(the_share_is_the_cores_by_the_workers_that_are_busy_now)                                                                                                 \
    X(fixed_threads_begin_when_so_many_cores_are_free)                                                                                                         \
    X(more_threads_than_cores_run_alone)                                                                                                                       \
    X(who_waits_for_cores_may_still_leave)                                                                                                                     \
    X(every_capability_says_its_threads_and_its_heartbeat)

#define TESTS_mistakes(X)                                                                                                                                      \
    X(a_guard_that_credits_a_copy_of_the_counter)                                                                                                              \
    X(probing_for_memory_and_then_reserving_again)                                                                                                             \
    X(limit_minus_reserved_wrapping_around)                                                                                                                    \
    X(one_budget_per_capability_five_times_80_percent)                                                                                                         \
    X(a_failed_load_released_twice)                                                                                                                            \
    X(a_model_that_is_loading_evicted_by_the_next_request)                                                                                                     \
    X(two_models_wanted_at_once_with_room_for_one_and_only_one_ever_served)                                                                                    \
    X(a_small_load_stuck_behind_a_big_one)                                                                                                                     \
    X(eviction_by_a_stale_index_taking_a_busy_workers_queue_with_it)                                                                                           \
    X(an_unload_that_reports_done_before_memory_is_back)                                                                                                       \
    X(waiters_hanging_after_a_failed_load)                                                                                                                     \
    X(requests_that_join_just_after_a_load_has_failed_and_wait_for_ever)                                                                                       \
    X(a_busy_worker_read_as_spawn_failed)                                                                                                                      \
    X(forty_requests_starting_forty_loads)                                                                                                                     \
    X(ready_before_anything_was_loaded)                                                                                                                        \
    X(a_blocking_load_dressed_as_an_async_one)

#define TESTS_mistakes_requests(X)                                                                                                                             \
    X(a_lock_held_across_a_request)                                                                                                                            \
    X(a_stream_counted_as_done_when_it_was_opened)                                                                                                             \
    X(a_time_out_after_which_the_work_still_runs)                                                                                                              \
    X(errors_delivered_as_model_text)                                                                                                                          \
    X(a_stream_cut_by_a_dead_engine_that_looks_complete)                                                                                                       \
    X(a_priority_heap_that_pops_the_lowest)                                                                                                                    \
    X(a_full_batch_that_drops_what_does_not_fit)                                                                                                               \
    X(expiry_that_leaves_the_depth_counter_high)                                                                                                               \
    X(a_breaker_whose_failures_never_reset)                                                                                                                    \
    X(a_breaker_whose_half_open_state_is_unbounded)                                                                                                            \
    X(metrics_that_nothing_feeds)                                                                                                                              \
    X(configured_limits_that_nothing_reads)                                                                                                                    \
    X(a_batch_window_that_nothing_reads)

#define TESTS_evict(X)                                                                                                                                         \
    X(an_idle_model_makes_room_and_comes_back_when_it_is_asked)                                                                                                \
    X(what_is_cheapest_to_bring_back_goes_first)                                                                                                               \
    X(among_equals_the_one_used_longest_ago_goes)                                                                                                              \
    X(what_was_asked_for_long_ago_counts_less)                                                                                                                 \
    X(what_turned_out_superfluous_is_spared)                                                                                                                   \
    X(only_what_helps_on_the_device_leaves)                                                                                                                    \
    X(further_workers_go_before_the_last_one_and_its_weights)                                                                                                  \
    X(pinned_models_minimums_and_the_hosts_own_never_leave)                                                                                                    \
    X(what_is_above_the_minimum_leaves)                                                                                                                        \
    X(nobody_leaves_for_a_plan_that_does_not_suffice)                                                                                                          \
    X(a_model_that_was_loaded_for_nobody_yet_stays_for_its_residency)                                                                                          \
    X(the_residency_is_the_entrys)                                                                                                                             \
    X(two_models_with_room_for_one_are_both_served)                                                                                                            \
    X(a_model_that_is_never_idle_ends_its_turn)                                                                                                                \
    X(the_next_load_begins_when_the_victims_memory_is_back)

#define TESTS_reserve(X)                                                                                                                                       \
    X(waiting_reservations_are_served_by_priority_then_arrival)                                                                                                \
    X(what_the_host_has_taken_meanwhile_ends_a_wait_that_is_in_vain)                                                                                           \
    X(the_priority_of_an_entry_is_that_of_its_loads)                                                                                                           \
    X(a_small_load_passes_a_big_one_that_waits)                                                                                                                \
    X(a_reservation_of_the_hosts_makes_room)                                                                                                                   \
    X(a_reservation_that_waits_ends_by_cancel_deadline_and_close)                                                                                              \
    X(a_reservation_is_checked)                                                                                                                                \
    X(the_plan_can_be_read)                                                                                                                                    \
    X(what_a_worker_takes_is_measured_and_kept)                                                                                                                \
    X(shared_weights_are_measured_apart_from_workers)                                                                                                          \
    X(the_backends_estimate_is_taken_when_the_entry_says_nothing)                                                                                              \
    X(the_systems_pressure_evicts_the_cheapest_idle_model)                                                                                                     \
    X(the_ledgers_own_level_is_told)

#define TESTS_breaker(X)                                                                                                                                       \
    X(a_model_that_keeps_failing_rests_is_tried_and_serves_again)                                                                                              \
    X(a_success_resets_the_count_of_failures)                                                                                                                  \
    X(half_open_lets_so_many_through_at_a_time)                                                                                                                \
    X(a_probe_that_fails_opens_it_again)                                                                                                                       \
    X(probes_that_outlive_their_round_still_count)                                                                                                             \
    X(who_waits_when_it_opens_is_told)                                                                                                                         \
    X(what_a_client_does_wrong_does_not_count)                                                                                                                 \
    X(without_a_breaker_nothing_rests)

#define TESTS_scaling(X)                                                                                                                                       \
    X(forty_requests_of_a_cold_model_start_initial_workers_loads)                                                                                              \
    X(nothing_is_loaded_before_somebody_asks)                                                                                                                  \
    X(initial_workers_never_pass_the_maximum)                                                                                                                  \
    X(a_queue_that_is_longer_than_two_loads_brings_another_worker)                                                                                             \
    X(workers_come_one_by_one_up_to_the_maximum)                                                                                                               \
    X(a_further_worker_waits_for_a_core)                                                                                                                       \
    X(a_further_worker_takes_free_memory_and_evicts_nobody)                                                                                                    \
    X(idle_workers_go_down_to_the_minimum)                                                                                                                     \
    X(a_worker_that_is_used_stays)                                                                                                                             \
    X(who_waited_for_cores_and_left_does_not_keep_a_worker)                                                                                                    \
    X(without_an_idle_timeout_workers_stay)                                                                                                                    \
    X(the_minimum_is_there_from_the_addition_on_and_comes_back)                                                                                                \
    X(shared_weights_stay_until_the_last_worker_goes)                                                                                                          \
    X(each_new_worker_is_warmed_up_first)                                                                                                                      \
    X(a_warm_up_that_fails_costs_nothing)                                                                                                                      \
    X(a_pinned_model_is_loaded_and_never_idle_for_too_long)                                                                                                    \
    X(a_pinned_model_comes_back_after_a_crash)

#define TESTS_failure(X)                                                                                                                                       \
    X(a_failed_load_keeps_its_error_and_its_words)                                                                                                             \
    X(a_load_that_may_pass_is_tried_again_with_growing_delays)                                                                                                 \
    X(a_retry_that_succeeds_serves_who_waited)                                                                                                                 \
    X(an_error_that_stays_is_not_tried_again)                                                                                                                  \
    X(nobody_waits_nothing_is_tried_again)                                                                                                                     \
    X(after_a_failure_requests_are_refused_with_the_reason_until_the_next_attempt)                                                                             \
    X(a_host_that_asks_by_hand_is_not_put_off)                                                                                                                 \
    X(one_of_two_loads_that_fails_harms_nobody)                                                                                                                \
    X(shared_weights_that_fail_fail_all_who_wait_and_are_loaded_again)                                                                                         \
    X(a_load_has_the_entrys_timeouts)                                                                                                                          \
    X(a_deadline_that_a_load_cannot_meet_is_refused_at_once)                                                                                                   \
    X(a_failed_request_says_when_to_come_back)                                                                                                                 \
    X(a_full_queue_says_when_to_come_back)

#define TESTS_loading(X)                                                                                                                                       \
    X(a_load_by_hand_tells_when_a_worker_is_ready)                                                                                                             \
    X(a_load_of_what_is_ready_is_told_on_a_later_turn)                                                                                                         \
    X(a_load_by_hand_that_fails_is_told_why)                                                                                                                   \
    X(an_unload_is_told_when_the_memory_is_free)                                                                                                               \
    X(requests_that_come_during_an_unload_load_it_again)                                                                                                       \
    X(a_load_says_how_far_it_is)                                                                                                                               \
    X(an_unload_ends_a_load)                                                                                                                                   \
    X(a_load_for_which_nobody_waits_is_cancelled_after_five_seconds)                                                                                           \
    X(somebody_who_comes_within_the_grace_keeps_the_load)                                                                                                      \
    X(a_close_serves_what_was_accepted_for_a_cold_model)                                                                                                       \
    X(a_close_does_not_wait_for_a_retry_beyond_its_drain)                                                                                                      \
    X(weights_are_preloaded_only_where_memory_is_free)                                                                                                         \
    X(preloaded_weights_stay_are_evicted_and_come_back)                                                                                                        \
    X(a_want_of_memory_at_any_place_of_a_models_life_is_survived)

#define TESTS_endings(X)                                                                                                                                       \
    X(a_promise_kept_beyond_the_close_touches_nothing_of_its_entry)                                                                                            \
    X(a_backends_close_runs_off_the_loop_also_when_the_pool_closes)                                                                                            \
    X(shared_weights_that_stall_are_given_up_and_loaded_anew)                                                                                                  \
    X(an_attach_that_answers_ecanceled_is_a_failed_load)                                                                                                       \
    X(a_hung_worker_does_not_keep_its_models_idle_one)                                                                                                         \
    X(who_reserves_again_in_the_callback_does_not_hold_the_loop)                                                                                               \
    X(a_pinned_model_whose_worker_was_stopped_comes_back_when_its_memory_is_free)                                                                              \
    X(a_key_is_free_again_while_a_request_of_its_former_entry_holds_pieces)

#define TESTS_files(X)                                                                                                                                         \
    X(files_that_are_here_are_looked_at_by_the_addition)                                                                                                       \
    X(files_that_are_missing_leave_the_entry_unseen)                                                                                                           \
    X(a_reference_without_a_fetcher_is_refused)                                                                                                                \
    X(a_reference_that_is_wrong_is_refused_with_its_place)                                                                                                     \
    X(a_fetcher_that_is_not_whole_makes_no_pool)                                                                                                               \
    X(an_async_entry_brings_what_is_missing_without_a_thread)                                                                                                  \
    X(what_is_larger_than_the_budget_is_not_downloaded)                                                                                                        \
    X(what_turns_out_larger_than_the_budget_is_told_after_the_download)                                                                                        \
    X(other_kinds_never_download_and_say_what_to_do)                                                                                                           \
    X(a_pinned_entry_fetches_when_it_is_added)                                                                                                                 \
    X(a_fetch_by_hand_brings_the_files_and_loads_nothing)                                                                                                      \
    X(a_fetch_of_what_has_no_files_is_told_on_a_later_turn)                                                                                                    \
    X(loads_and_fetches_by_hand_share_one_download)                                                                                                            \
    X(an_unload_a_removal_and_the_close_end_a_download)                                                                                                        \
    X(a_close_ends_what_a_request_waits_for)                                                                                                                   \
    X(a_download_for_nobody_is_cancelled_after_the_grace)                                                                                                      \
    X(a_download_that_fails_is_tried_again_while_somebody_waits)                                                                                               \
    X(a_download_that_claims_too_much_is_found_out)                                                                                                            \
    X(a_download_obeys_the_time_limits_of_loads)                                                                                                               \
    X(files_that_went_are_looked_for_again)                                                                                                                    \
    X(what_the_backend_says_of_fetched_files_fails_the_load)                                                                                                   \
    X(a_look_that_never_returns_does_not_hold_up_the_close)                                                                                                    \
    X(a_look_that_takes_too_long_fails_the_load)                                                                                                               \
    X(a_look_whose_entry_goes_is_forgotten)                                                                                                                    \
    X(everybody_is_told_once_whatever_happens)                                                                                                                 \
    X(a_read_that_does_not_end_does_not_hold_up_the_close)                                                                                                     \
    X(files_are_read_ahead_of_a_load)

#define TESTS_files_within(X)                                                                                                                                  \
    X(who_asks_within_an_unload_hears_that_the_model_was_removed)                                                                                              \
    X(whatever_is_called_from_within_everybody_is_told_once)

#endif
