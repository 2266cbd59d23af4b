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
SCENARIO(cvec_push_crowd)
SCENARIO(cvec_push_refused)
SCENARIO(cvec_push_told)
/* cvec_extend.c */
SCENARIO(cvec_extend_grow)
SCENARIO(cvec_extend_void)
SCENARIO(cvec_extend_fits)
SCENARIO(cvec_claim_late)
/* cvec_growth.c */
SCENARIO(cvec_reserve_both)
SCENARIO(cvec_reserve_exact_both)
SCENARIO(cvec_grow_little)
SCENARIO(cvec_grow_refused)
/* cvec_read.c */
SCENARIO(cvec_get_pushed)
SCENARIO(cvec_snapshot_grows)
SCENARIO(cvec_snapshot_told)
SCENARIO(cvec_get_below)
/* cvec_wait.c */
SCENARIO(cvec_wait_push)
SCENARIO(cvec_wait_together)
SCENARIO(cvec_wait_two)
SCENARIO(cvec_wait_shorter)
SCENARIO(cvec_wait_time)
SCENARIO(cvec_wait_in_time)
SCENARIO(cvec_wait_refused)
SCENARIO(cvec_wait_full_fence)
/* cvec_close.c */
SCENARIO(cvec_close_push)
SCENARIO(cvec_close_twice)
SCENARIO(cvec_close_run)
SCENARIO(cvec_close_wait)
SCENARIO(cvec_close_poll)
/* cvec_full.c */
SCENARIO(cvec_full_vector)
/* cvec_tail.c */
SCENARIO(cvec_tail)
SCENARIO(cvec_tail_full)
/* cvec_appender.c */
SCENARIO(cvec_append)
SCENARIO(cvec_append_ones)
/* cvec_raw.c */
SCENARIO(cvec_raw_claim_both)
/* cvec_exclusive.c */
SCENARIO(cvec_exclusive_after)
SCENARIO(cvec_exclusive_closed)
/* vbuf_commit.c */
SCENARIO(vbuf_commit_overlap)
