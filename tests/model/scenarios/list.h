/*
 * list.h - every scenario, by the name of its variable; included where SCENARIO means something.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
/* canary.c: fails; left out unless it is named */
SCENARIO(canary_lost_update)
/* litmus.c: the explorer itself */
SCENARIO(litmus_store_buffering)
/* cvec_push.c */
SCENARIO(cvec_push_grow)
/* ebr_alone.c */
SCENARIO(ebr_alone_first_pin)
SCENARIO(ebr_alone_again)
SCENARIO(ebr_alone_new)
/* ebr_batch.c */
SCENARIO(ebr_batch_fill)
SCENARIO(ebr_batch_shared)
SCENARIO(ebr_batch_reclaim_retires)
SCENARIO(ebr_batch_reclaim_shared)
/* ebr_collect.c */
SCENARIO(ebr_collect_idle)
SCENARIO(ebr_collect_left)
SCENARIO(ebr_collect_alone)
SCENARIO(ebr_collect_shared_waits)
SCENARIO(ebr_collect_nobody)
SCENARIO(ebr_collect_held)
SCENARIO(ebr_collect_counts)
SCENARIO(ebr_collect_three_tags)
SCENARIO(ebr_collect_two_left)
/* ebr_domain_end.c */
SCENARIO(ebr_domain_exit)
SCENARIO(ebr_domain_pending)
SCENARIO(ebr_domain_two)
SCENARIO(ebr_domain_two_pinned)
SCENARIO(ebr_domain_list)
/* ebr_exit.c */
SCENARIO(ebr_exit_orphans)
SCENARIO(ebr_exit_two_orphans)
SCENARIO(ebr_exit_pinned)
SCENARIO(ebr_exit_detach)
SCENARIO(ebr_exit_number_reused)
SCENARIO(ebr_exit_destructor)
/* ebr_grace.c */
SCENARIO(ebr_grace_steps)
SCENARIO(ebr_grace_full_fence)
SCENARIO(ebr_grace_unattached)
SCENARIO(ebr_grace_glance)
/* ebr_nested.c */
SCENARIO(ebr_nested_pins)
SCENARIO(ebr_nested_repin)
/* ebr_numbers.c */
SCENARIO(ebr_numbers_two)
SCENARIO(ebr_numbers_three)
/* ebr_pin.c */
SCENARIO(ebr_pin_remove)
SCENARIO(ebr_pin_full_fence)
SCENARIO(ebr_pin_barriers_fail)
SCENARIO(ebr_pin_bags)
SCENARIO(ebr_pin_two_removers)
/* ebr_shared.c */
SCENARIO(ebr_shared_pin)
SCENARIO(ebr_shared_removers)
SCENARIO(ebr_shared_one_record)
SCENARIO(ebr_shared_refused)
/* ebr_stats.c */
SCENARIO(ebr_stats_churn)
SCENARIO(ebr_stats_shared)
SCENARIO(ebr_stats_new)
/* ebr_steps.c */
SCENARIO(ebr_steps_two)
SCENARIO(ebr_steps_barriers_fail)
SCENARIO(ebr_steps_full_fence)
SCENARIO(ebr_steps_shared)
SCENARIO(ebr_steps_synchronize)
SCENARIO(ebr_steps_new_reader)
SCENARIO(ebr_steps_batch)
/* ebr_synchronize.c */
SCENARIO(ebr_synchronize_free)
SCENARIO(ebr_synchronize_retired)
SCENARIO(ebr_synchronize_refused)
SCENARIO(ebr_synchronize_both)
