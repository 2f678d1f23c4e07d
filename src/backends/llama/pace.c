/* How many threads a decode really gets.
 *
 * The engine's threads spin at barriers between graph nodes. When another process wants the same cores, a decode with all of the pool's share can take ten to a
 * hundred times as long as one with a single thread. So the share is an upper bound: for each size of batch the time per token is kept for the whole share and
 * for one thread, the better of the two is used, and the other is tried again now and then (after 64 decodes, and twice as long each time that it loses, up to
 * 4,096). */
#include "backend.h"

#define FIRST_TRY 2
#define INTERVAL 64
#define INTERVAL_MAX 4096
#define MARGIN 1.25 /* all of the share must be this much worse before one thread is taken: it is the better choice when alone */

static cadre__llama_lane *lane_of(cadre__llama_pace *pace, int32_t tokens)
{
    return &pace->lanes[tokens <= 1 ? 0 : tokens <= 4 ? 1 : tokens <= 16 ? 2 : tokens <= 64 ? 3 : 4];
}

int32_t cadre__llama_pace_choose(cadre__llama_pace *pace, int32_t tokens, int32_t share)
{
    cadre__llama_lane *lane = lane_of(pace, tokens);
    if (share <= 1) return 1;
    if (lane->share != share) *lane = (cadre__llama_lane){.share = share, .interval = INTERVAL, .left = FIRST_TRY};
    lane->trying = lane->left == 0;
    bool single = lane->single != lane->trying;
    return single ? 1 : share;
}

void cadre__llama_pace_note(cadre__llama_pace *pace, int32_t tokens, int32_t threads, uint64_t nanoseconds)
{
    cadre__llama_lane *lane = lane_of(pace, tokens);
    if (lane->share <= 1 || (threads != 1 && threads != lane->share)) return;
    double *mean = &lane->cost[threads != 1], cost = (double)nanoseconds / (double)tokens;
    /* A better figure counts in full: the first decode of a size is a cold one, and must not decide for the next 64. */
    *mean = *mean > 0 && cost > *mean ? *mean * 0.75 + cost * 0.25 : cost;
    if (lane->left > 0) lane->left--;
    if (lane->cost[0] <= 0 || lane->cost[1] <= 0) return;
    bool single = lane->cost[1] > lane->cost[0] * MARGIN;
    if (lane->trying) {
        lane->interval = single == lane->single ? (lane->interval < INTERVAL_MAX ? lane->interval * 2 : INTERVAL_MAX) : INTERVAL;
        lane->left = lane->interval;
    }
    if (single != lane->single) lane->left = lane->interval = INTERVAL;
    lane->single = single;
}
