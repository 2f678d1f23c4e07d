/* swap: 40 requests at once, ten for each of four models that are all cold, with room for two of them (a memory budget of two models and a quarter; the
 * router's --models-max 2). Four names of one file, which is in the page cache; eight tokens a request.
 *
 *   wall    until the last answer, against the fastest of three llama-server routers (see texts.h)
 *   loads   that were begun on our side
 *
 * Both sides: four slots of 1,024 tokens, the engine threads that are theirs by default. Between two rounds everything is unloaded. */
#include "texts.h"

#include <math.h>

#define MODELS 4
#define ROOM 2
#define REQUESTS 40
#define TOKENS 8

typedef struct sides {
    const bench_args *args;
    models_host host;
    router_set peers;
    texts_batch batch;
} sides;

static double ours(sides *s)
{
    char name[24];
    models_count_again(&s->host);
    double ms = texts_ours(&s->host, &s->batch);
    for (int i = 0; i < MODELS; i++) models_unload(&s->host, texts_name(i, name));
    return ms;
}

static double peer(sides *s, int index)
{
    if (!routers_has(&s->peers, index)) return NAN;
    double ms = texts_router(&s->peers.servers[index], &s->batch);
    router_empty(&s->peers.servers[index], MODELS);
    return ms;
}

int main(int argc, char **argv)
{
    bench_args args;
    bench_row wall, loads, evictions;
    sides s = {.args = &args, .batch = {.models = MODELS, .count = REQUESTS, .tokens = TOKENS}};
    double first[ROUTERS];
    uint64_t budget = 0;
    bench_parse(&args, argc, argv);
    bench_row_init(&wall, "swap", "ms", args.server ? "llama-server, router mode" : NULL, "ratio <= 0.5", "wall");
    bench_row_init(&loads, "swap", "loads", NULL, "value <= 5", "loads");
    bench_row_init(&evictions, "swap", "evictions", NULL, "none", "evictions");
    routers_open(&s.peers, &args, MODELS, ROOM);
    texts_open(&s.host, &args, ROOM, &budget);
    bench_note(&args, "the budget is %.0f MB", (double)budget / 1e6);
    for (int i = 0; i < MODELS; i++) texts_add(&s.host, &args, i, CADRE_DEFAULT);
    ours(&s); /* warms the page cache */
    for (int i = 0; i < ROUTERS; i++) first[i] = peer(&s, i);
    routers_keep(&s.peers, first);
    for (int round = 0; round < args.rounds; round++) {
        double ms = NAN, best = NAN;
        for (int i = 0; i < ROUTERS + 1; i++) {
            int side = (i + round) % (ROUTERS + 1);
            if (side == ROUTERS)
                ms = ours(&s);
            else
                best = fmin(best, peer(&s, side));
        }
        bench_row_add(&wall, ms, best);
        bench_row_add(&loads, (double)s.host.count.loads, 0);
        bench_row_add(&evictions, (double)s.host.count.evictions, 0);
    }
    bench_row_print(&args, &wall);
    bench_row_print(&args, &loads);
    bench_row_print(&args, &evictions);
    routers_close(&s.peers);
    models_close(&s.host);
    bench_finish(&args);
    return 0;
}
