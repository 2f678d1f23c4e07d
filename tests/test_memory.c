/* The ledger: whole or not at all, per device, without wrapping; what a worker charges comes back when its model is gone. */
#include "scripted.h"

#define HOST 1000u
#define GPU0 500u
#define GPU1 UINT64_MAX

static fixture *begin(void)
{
    static const cadre_device devices[] = {{sizeof(cadre_device), "gpu0", GPU0}, {sizeof(cadre_device), "gpu1", GPU1}};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = HOST;
    options.devices = devices;
    options.device_count = 2;
    return fixture_begin_with(&options);
}

typedef struct ledger_case {
    const char *name;
    cadre_memory_amount amounts[4];
    size_t count;
    int rc;
    uint64_t charged[3];
} ledger_case;

static const ledger_case cases[] = {
    {"nothing", {{0, 0}}, 0, 0, {0, 0, 0}},
    {"zero bytes", {{0, 0}}, 1, 0, {0, 0, 0}},
    {"one byte", {{0, 1}}, 1, 0, {1, 0, 0}},
    {"all of the host", {{0, 1000}}, 1, 0, {1000, 0, 0}},
    {"one too many", {{0, 1001}}, 1, CADRE_EBUDGET, {0}},
    {"each device", {{0, 1}, {1, 2}, {2, 3}}, 3, 0, {1, 2, 3}},
    {"the last has no room", {{0, 1}, {2, 3}, {1, 501}}, 3, CADRE_EBUDGET, {0}},
    {"the first has no room", {{0, 1001}, {1, 1}}, 2, CADRE_EBUDGET, {0}},
    {"a device twice", {{1, 250}, {1, 250}}, 2, 0, {0, 500, 0}},
    {"a device twice, too much", {{1, 250}, {1, 251}}, 2, CADRE_EBUDGET, {0}},
    {"the most there is", {{0, UINT64_MAX}}, 1, CADRE_EBUDGET, {0}},
    {"a sum that wraps", {{0, UINT64_MAX}, {0, 2}}, 2, CADRE_EBUDGET, {0}},
    {"a sum that wraps to fit", {{1, UINT64_MAX - 10}, {1, 12}}, 2, CADRE_EBUDGET, {0}},
    {"a wrap on an endless device", {{2, UINT64_MAX}, {2, 1}}, 2, CADRE_EBUDGET, {0}},
    {"all of an endless device", {{2, UINT64_MAX}}, 1, 0, {0, 0, UINT64_MAX}},
    {"no such device", {{3, 1}}, 1, CADRE_EINVAL, {0}},
    {"no such device, last", {{0, 1}, {UINT32_MAX, 1}}, 2, CADRE_EINVAL, {0}},
};

static void a_reservation_is_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const ledger_case *c = &cases[i];
        row("%s", c->name);
        fixture *fx = begin();
        cadre_reservation *r = (cadre_reservation *)(uintptr_t)1;
        assert_status(cadre_memory_try_reserve(fx->pool, c->count ? c->amounts : NULL, c->count, &r), c->rc);
        for (uint32_t d = 0; d < 3; d++) {
            assert_true(charged(fx, d) == c->charged[d]);
            if (c->charged[d]) assert_size(reservations(fx, d), 1);
            if (c->rc) assert_size(reservations(fx, d), 0);
        }
        if (c->rc) assert_null(r);
        if (c->rc)
            assert_true(cadre_pool_error_detail(fx->pool)[0] != '\0');
        else
            cadre_reservation_release(r);
        for (uint32_t d = 0; d < 3; d++) assert_true(charged(fx, d) == 0 && reservations(fx, d) == 0);
        fixture_end(fx);
    }
}

static void the_sum_of_live_reservations_is_what_is_charged(void **state)
{
    (void)state;
    fixture *fx = begin();
    cadre_reservation *live[16] = {NULL};
    uint64_t amounts[16] = {0}, sum = 0, count = 0;
    uint32_t random = 12345;
    for (int i = 0; i < 5000; i++) {
        random = random * 1664525u + 1013904223u;
        size_t k = (random >> 8) % 16;
        if (live[k]) {
            cadre_reservation_release(live[k]);
            live[k] = NULL;
            sum -= amounts[k];
            count--;
        } else {
            amounts[k] = (random >> 16) % 300 + 1;
            cadre_memory_amount amount = {CADRE_DEVICE_HOST, amounts[k]};
            int rc = cadre_memory_try_reserve(fx->pool, &amount, 1, &live[k]);
            assert_status(rc, sum + amounts[k] <= HOST ? 0 : CADRE_EBUDGET);
            if (rc == 0) {
                sum += amounts[k];
                count++;
            }
        }
        assert_true(charged(fx, 0) == sum);
        assert_true(reservations(fx, 0) == count);
    }
    for (size_t k = 0; k < 16; k++) cadre_reservation_release(live[k]);
    cadre_reservation_release(NULL);
    fixture_end(fx);
}

static void the_usage_tells_budgets(void **state)
{
    (void)state;
    fixture *fx = begin();
    static const uint64_t budgets[] = {HOST, GPU0, GPU1};
    for (uint32_t d = 0; d < 3; d++) {
        cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
        assert_status(cadre_memory_get_usage(fx->pool, d, &usage), 0);
        assert_true(usage.budget_bytes == budgets[d]);
    }
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(fx->pool, 3, &usage), CADRE_EINVAL);
    fixture_end(fx);
}

static void the_default_budget_is_a_part_of_the_machine(void **state)
{
    (void)state;
    cadre_pool *pool = NULL;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_status(cadre_pool_create(&pool, &loop, NULL), 0);
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(pool, CADRE_DEVICE_HOST, &usage), 0);
    uint64_t machine = uv_get_total_memory(), limit = uv_get_constrained_memory();
    if (limit && limit < machine) machine = limit;
    assert_true(usage.budget_bytes > 0);
    assert_true(usage.budget_bytes <= machine / 10 * 8);
    assert_status(cadre_pool_close(pool, NULL, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static bool nothing_charged(void *data)
{
    return charged(data, 0) == 0;
}

static void weights_give_their_reservation_back_when_the_payload_is_gone(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        fixture *fx = begin();
        script *s = script_new(fx, CADRE_TEXT_TO_IMAGE, KIND_PRELOADED, "m");
        s->weights_promise = true;
        if (fails) atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
        script_hold(s, OP_LOAD);
        cadre_reservation *context = reserve(fx, 10);
        assert_status(script_spawn_with(s, context, NULL), 0);
        assert_status(cadre_weights_future_charge(s->weights, reserve(fx, 700)), 0);
        assert_status(cadre_weights_future_charge(s->weights, reserve(fx, 1)), CADRE_EALREADY);
        assert_size(charged(fx, 0), 710);
        script_open(s, OP_LOAD);
        script_until_ready(s, 1);
        if (!fails) {
            assert_status(s->ready_status, 0);
            assert_size(charged(fx, 0), 710);
            assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
            run_until_int(fx, &s->exited, 1);
            settle(fx);
            assert_size(charged(fx, 0), 700);
            scripts_let_go(fx);
        } else {
            assert_status(cadre_weights_future_charge(s->weights, reserve(fx, 1)), CADRE_EALREADY);
        }
        run_until(fx, nothing_charged, fx);
        assert_int_equal(atomic_load(&s->payloads_destroyed), !fails);
        fixture_end(fx);
    }
}

static bool is_settled(void *data)
{
    return cadre_weights_future_status(data) != CADRE_EAGAIN;
}

static int load_payload(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    (void)out;
    cadre_load_measured(context, 0, 700);
    return *(const int *)data;
}

static void a_load_of_weights_consumes_its_reservation(void **state)
{
    (void)state;
    static const int statuses[] = {0, CADRE_EFORMAT};
    for (int i = 0; i < 2; i++) {
        fixture *fx = begin();
        cadre_weights_future *future = NULL;
        assert_status(cadre_weights_load_blocking(fx->pool, load_payload, (void *)(uintptr_t)&statuses[i], NULL, reserve(fx, 900), &future), 0);
        assert_size(charged(fx, 0), 900);
        run_until(fx, is_settled, future);
        assert_status(cadre_weights_future_status(future), statuses[i]);
        if (i == 0) assert_size(charged(fx, 0), 700); /* as it was measured */
        if (i == 0) assert_null(cadre_weights_payload(cadre_weights_future_get(future)));
        cadre_weights_future_release(future);
        run_until(fx, nothing_charged, fx);
        fixture_end(fx);
    }
}

static void a_reservation_left_over_is_given_back_by_the_host_after_close_began(void **state)
{
    (void)state;
    fixture *fx = begin();
    cadre_reservation *r = reserve(fx, 10);
    fixture_start_close(fx, NULL);
    cadre_reservation_release(r);
    fixture_end(fx);
}

#define SUITE memory
#include "suite.h"
