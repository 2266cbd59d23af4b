/*
 * list.h - every scenario, by the name of its variable; included where SCENARIO means something.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
/* litmus.c: the explorer itself */
SCENARIO(litmus_store_buffering)
/* cvec_push.c */
SCENARIO(cvec_push_grow)
/* slotmap_get.c */
SCENARIO(slotmap_get_reuse)
SCENARIO(slotmap_get_reuse_full_fence)
SCENARIO(slotmap_get_shown)
SCENARIO(slotmap_get_any_bits)
/* slotmap_remove.c */
SCENARIO(slotmap_remove_race)
SCENARIO(slotmap_remove_last_life)
SCENARIO(slotmap_remove_mixed)
/* slotmap_room.c */
SCENARIO(slotmap_room_owner)
SCENARIO(slotmap_room_owner_full_fence)
SCENARIO(slotmap_room_taker_first)
SCENARIO(slotmap_room_enough)
SCENARIO(slotmap_room_pair)
SCENARIO(slotmap_room_gone_again)
SCENARIO(slotmap_room_three)
SCENARIO(slotmap_room_batch)
SCENARIO(slotmap_room_handover)
SCENARIO(slotmap_room_first_call)
SCENARIO(slotmap_room_by_pool)
SCENARIO(slotmap_room_refused)
/* slotmap_full.c */
SCENARIO(slotmap_full_leapfrog)
SCENARIO(slotmap_full_inlined)
SCENARIO(slotmap_full_no_slot)
SCENARIO(slotmap_full_surplus)
SCENARIO(slotmap_full_shared)
SCENARIO(slotmap_full_stopped)
SCENARIO(slotmap_full_churn)
/* slotmap_lists.c */
SCENARIO(slotmap_lists_owner_wakes)
SCENARIO(slotmap_lists_owner_wakes_full_fence)
SCENARIO(slotmap_lists_refused)
SCENARIO(slotmap_lists_two_takers)
SCENARIO(slotmap_lists_turn_over)
SCENARIO(slotmap_lists_sleeper)
SCENARIO(slotmap_lists_two_collect)
SCENARIO(slotmap_lists_pinned)
SCENARIO(slotmap_lists_not_pinned)
/* slotmap_chunks.c */
SCENARIO(slotmap_chunks_back)
SCENARIO(slotmap_chunks_churn)
SCENARIO(slotmap_chunks_kept)
SCENARIO(slotmap_chunks_push)
SCENARIO(slotmap_chunks_late)
/* slotmap_shared.c */
SCENARIO(slotmap_shared_churn)
SCENARIO(slotmap_shared_and_own)
SCENARIO(slotmap_shared_orphans)
SCENARIO(slotmap_shared_destroy)
SCENARIO(slotmap_shared_collected)
SCENARIO(slotmap_shared_chunk)
SCENARIO(slotmap_shared_room)
SCENARIO(slotmap_shared_rooms)
SCENARIO(slotmap_shared_handover)
/* slotmap_exit.c */
SCENARIO(slotmap_exit_inherit)
SCENARIO(slotmap_exit_destroy)
SCENARIO(slotmap_exit_two_maps)
SCENARIO(slotmap_exit_destructor)
/* slotmap_commit.c */
SCENARIO(slotmap_commit_refused)
SCENARIO(slotmap_commit_race)
SCENARIO(slotmap_commit_hook)
SCENARIO(slotmap_commit_late)
/* slotmap_iterate.c */
SCENARIO(slotmap_iterate_churn)
/* slotmap_figures.c */
SCENARIO(slotmap_figures_own)
SCENARIO(slotmap_figures_shared)
SCENARIO(slotmap_figures_chunks)
/* slotmap_kept.c */
SCENARIO(slotmap_kept_sealed)
SCENARIO(slotmap_kept_orphan)
/* slotmap_taker.c */
SCENARIO(slotmap_taker_stopped)
SCENARIO(slotmap_taker_in_destructor)
SCENARIO(slotmap_taker_gets_ready)
SCENARIO(slotmap_taker_old_token)
SCENARIO(slotmap_taker_late)
