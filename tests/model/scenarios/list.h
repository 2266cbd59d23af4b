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
/* ebr_exit.c */
SCENARIO(ebr_exit_orphans)
SCENARIO(ebr_exit_two_orphans)
SCENARIO(ebr_exit_pinned)
SCENARIO(ebr_exit_detach)
SCENARIO(ebr_exit_number_reused)
SCENARIO(ebr_exit_destructor)
