#include "fuzz_api.h"

#include <cadre/observe.h>
#include <stdlib.h>

/* ---- answers ---- */

static void on_answer(cadre_pool *pool, int status, const char *detail, void *data)
{
    api *a = data;
    FUZZ_CHECK(pool == a->host.pool && !a->host.sim.current && status <= 0 && !status == !*detail, "an answer: %s, \"%s\"", cadre_err_name(status), detail);
    a->answers_told++;
    api_reenter(a);
}

static void asked(api *a, const char *what, int rc)
{
    api_check(a, what, rc, (const int[]){CADRE_ENOENT, CADRE_EBUSY, CADRE_EEXIST, CADRE_EINVAL, CADRE_ECAPABILITY, CADRE_EBACKEND, CADRE_EBUDGET, 0});
    a->answers_asked += rc == CADRE_OK;
}

static void on_reserved(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    api *a = data;
    FUZZ_CHECK(pool == a->host.pool && (status == CADRE_OK) == (owned != NULL) && detail, "a reservation: %s and a handle do not go together",
               cadre_err_name(status));
    a->answers_told++;
    for (unsigned i = 0; owned && i < RESERVATIONS_MAX; i++) {
        if (a->reservations[i] || a->host.closing) continue;
        a->reservations[i] = owned;
        a->host.reserved++;
        owned = NULL;
    }
    cadre_reservation_release(owned);
    api_reenter(a);
}

/* ---- entries ---- */

static void release(void *data)
{
    api_worker *w = data;
    FUZZ_CHECK(!w->released++, "an entry's loader is released twice");
}

#define FAMILY(NAME)                                                                                                                                           \
    static cadre_##NAME##_future *NAME##_load(cadre_load_context *context, void *data)                                                                         \
    {                                                                                                                                                          \
        return (cadre_##NAME##_future *)api_load_future(context, data);                                                                                        \
    }                                                                                                                                                          \
    static int NAME##_add(cadre_pool *pool, const cadre_entry *entry, api_worker *w)                                                                           \
    {                                                                                                                                                          \
        const cadre_##NAME##_loader loader = {sizeof loader, NAME##_load, w, release};                                                                         \
        return cadre_registry_add_##NAME(pool, entry, &loader, on_answer, w->a);                                                                               \
    }
FAMILY(text_to_text)
FAMILY(text_embedding)
FAMILY(image_embedding)
FAMILY(vision)
FAMILY(text_to_image)

static void add(api *a)
{
    static int (*const adders[])(cadre_pool *, const cadre_entry *, api_worker *) = {text_to_text_add, text_embedding_add, image_embedding_add, vision_add,
                                                                                     text_to_image_add};
    if (a->worker_count == WORKERS_MAX) return;
    api_worker *w = &a->workers[a->worker_count++];
    uint8_t what = fuzz_byte(&a->bytes), how = fuzz_byte(&a->bytes), limits = fuzz_byte(&a->bytes);
    *w = (api_worker){.a = a, .key = what % KEYS, .kind = (api_load)(how % LOAD_KINDS), .outcome = how > 220 ? CADRE_EFORMAT : CADRE_OK, .in_call = true};
    cadre_memory_need need = {what & 4 ? 1 : CADRE_DEVICE_HOST, fuzz_byte(&a->bytes) * UINT64_C(8), fuzz_byte(&a->bytes) * UINT64_C(8)};
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = api_keys[w->key];
    entry.capability = (int32_t)a->models[w->key].capability;
    if (what & 8) entry.memory = &need, entry.memory_count = 1;
    entry.initial_workers = 1 + limits % 2, entry.max_workers = 2 + limits / 2 % 3, entry.min_workers = limits & 16 ? limits / 32 % 3 : 0;
    if (what & 16) entry.idle_timeout_ms = fuzz_byte(&a->bytes);
    if (what & 32) entry.min_residency_ms = fuzz_byte(&a->bytes);
    if (what & 64) entry.pinned = 1;
    if (what & 128)
        entry.load_retries = limits % 3, entry.retry_delay_ms = 1 + limits, entry.breaker_failures = 1 + limits % 4, entry.breaker_open_ms = 1 + how;
    int rc = adders[a->models[w->key].capability](a->host.pool, &entry, w);
    w->in_call = false;
    w->rc = 1; /* no worker of its own */
    asked(a, "registry_add", rc);
    FUZZ_CHECK(w->released == (rc != CADRE_OK), "registry_add: %s, and its loader is released %d times", cadre_err_name(rc), w->released);
}

static void add_text(api *a)
{
    static const char *const texts[] = {"{\"models\": []}", "{", "{\"models\": [{\"key\": \"m\", \"capability\": \"text-embedding\", \"backend\": \"none\"}]}",
                                        "{\"models\": [{\"key\": 1}]}", ""};
    const char *text = texts[fuzz_byte(&a->bytes) % COUNT(texts)];
    asked(a, "registry_load_text", cadre_registry_load_text(a->host.pool, text, strlen(text), NULL, on_answer, a));
}

/* ---- looking ---- */

static int visit(const cadre_entry_info *entry, void *data)
{
    FUZZ_CHECK(*entry->key && entry->name && entry->provider && entry->detail, "an entry has no key, name, provider or detail");
    ++*(int64_t *)data;
    return 0;
}

static void write_text(const char *text, size_t length, void *data)
{
    *(size_t *)data += length;
    FUZZ_CHECK(!length || text, "a piece without a text");
}

static void look(api *a)
{
    int64_t seen = 0, count = cadre_registry_list(a->host.pool, NULL, visit, &seen);
    size_t length = 0;
    char text[256];
    cadre_snapshot snapshot = {.size = sizeof snapshot};
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    cadre_memory_amount amount = {fuzz_byte(&a->bytes) % 2, fuzz_byte(&a->bytes) * UINT64_C(20)};
    FUZZ_CHECK(count == seen, "%lld entries are visited of %lld", (long long)seen, (long long)count);
    int rc = cadre_registry_get(a->host.pool, api_keys[amount.bytes % KEYS], &info);
    FUZZ_CHECK(rc == CADRE_OK || rc == CADRE_ENOENT, "registry_get answers %s", cadre_err_name(rc));
    FUZZ_CHECK(cadre_pool_snapshot(a->host.pool, &snapshot) == CADRE_OK && snapshot.models == (uint64_t)count, "the snapshot counts other models");
    FUZZ_CHECK(cadre_pool_prometheus(a->host.pool, write_text, &length) == CADRE_OK && length, "there are no metrics");
    length = 0;
    FUZZ_CHECK(cadre_pool_health_json(a->host.pool, write_text, &length) == CADRE_OK && length, "there is no health");
    int64_t lines = cadre_memory_explain(a->host.pool, &amount, 1, text, sizeof text);
    FUZZ_CHECK(lines < 0 || memchr(text, 0, sizeof text), "the explanation is not terminated");
}

static void reserve(api *a)
{
    cadre_memory_amount amount = {fuzz_byte(&a->bytes) % 2, fuzz_byte(&a->bytes) * UINT64_C(20)};
    cadre_reserve_options options = CADRE_RESERVE_OPTIONS_INIT;
    uint8_t what = fuzz_byte(&a->bytes);
    cadre_reserve_id id = 0;
    if (what & 1) options.priority = what / 16 % CADRE_PRIORITY_COUNT;
    if (what & 2) options.timeout_ms = 1 + what;
    int rc = cadre_memory_reserve(a->host.pool, &amount, 1, &options, on_reserved, a, &id);
    asked(a, "memory_reserve", rc);
    FUZZ_CHECK((rc == CADRE_OK) == (id != 0), "memory_reserve: %s and an id do not go together", cadre_err_name(rc));
    if (!(what & 12)) {
        rc = cadre_memory_cancel(a->host.pool, id);
        FUZZ_CHECK(rc == CADRE_OK || rc == CADRE_ESTALE, "memory_cancel answers %s", cadre_err_name(rc));
    }
}

void api_act_on_registry(api *a)
{
    uint8_t what = fuzz_byte(&a->bytes);
    const char *key = api_keys[what / 16 % KEYS];
    switch (what % 12) {
    case 0:
    case 1:
    case 2: add(a); break;
    case 3: asked(a, "registry_remove", cadre_registry_remove(a->host.pool, key, on_answer, a)); break;
    case 4: asked(a, "model_load", cadre_model_load(a->host.pool, key, on_answer, a)); break;
    case 5: asked(a, "model_unload", cadre_model_unload(a->host.pool, key, on_answer, a)); break;
    case 6: {
        int rc = cadre_model_pin(a->host.pool, key, what & 16);
        api_check(a, "model_pin", rc, (const int[]){CADRE_ENOENT, CADRE_EBUDGET, CADRE_EBUSY, 0});
        break;
    }
    case 7: look(a); break;
    case 8: add_text(a); break;
    default: reserve(a);
    }
}
