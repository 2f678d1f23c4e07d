/* The backend's own files under a test's contexts: these names take the place of the library's. */
#ifndef CADRE_TESTS_DIFFUSION_PARTS_H
#define CADRE_TESTS_DIFFUSION_PARTS_H

#define cadre_op_cancelled parts_op_cancelled
#define cadre_op_step parts_op_step
#define cadre_op_heartbeat parts_op_heartbeat
#define cadre_op_threads parts_op_threads
#define cadre_op_measured parts_op_measured
#define cadre_op_fail parts_op_fail
#define cadre_load_cancelled parts_load_cancelled
#define cadre_load_progress parts_load_progress
#define cadre_load_threads parts_load_threads
#define cadre_load_cores parts_load_cores
#define sd_ctx_set_n_threads parts_set_threads
#define cadre_load_measured parts_load_measured
#define cadre_load_fail parts_load_fail

#endif
