/* The part of the engine's library that is cadre's: see engine.h.
 *
 * Threads: the engine's progress, log and abort callbacks are process-wide, set once here. Progress and most log lines come on the thread that called the
 * engine, where `current` names the call. The threads that read tensors log as well; their errors go to the load that runs, if it is the only one.
 *
 * The engine has no way to stop. An exception out of the progress callback unwinds it: sampling holds its tensors in objects, and the compute buffer that stays
 * behind is used again by the next picture. It is thrown between two steps only, never while a graph is built or computed. A failed assertion is an exception
 * likewise where it happens on the caller's thread; the C parts are compiled with -fexceptions for this. There it is not known what is left, so the context is
 * given up. */
#include "engine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>

#include "ggml.h"

namespace {

struct stopped {};
struct failed_check {};

thread_local cadre_sd_call *current;
thread_local bool loading;
thread_local int reached; /* steps of the picture; negative: sampling has not begun, or is over */

std::mutex loads_lock;
cadre_sd_call *only_load; /* the one that runs; null when several have met */
int loads;

void note(cadre_sd_call *call, const char *text)
{
    if (call->error[0]) return;
    size_t length = std::strcspn(text, "\n");
    if (length >= sizeof(call->error)) length = sizeof(call->error) - 1;
    std::memcpy(call->error, text, length);
    call->error[length] = '\0';
}

/* "total params memory size = 17.33MB (…", "flux compute buffer size: 12.42 MB(RAM)". The engine has no call that tells them. */
void note_buffer(cadre_sd_call *call, const char *text)
{
    static const char params[] = "total params memory size = ", compute[] = " compute buffer size: ";
    char name[64];
    const char *at = std::strstr(text, params);
    if (at) {
        call->buffer(call->data, "params", std::strtod(at + sizeof(params) - 1, nullptr));
        return;
    }
    at = std::strstr(text, compute);
    if (!at) return;
    const char *begin = at;
    while (begin > text && begin[-1] != ' ') begin--;
    std::snprintf(name, sizeof(name), "%.*s", (int)(at - begin), begin);
    call->buffer(call->data, name, std::strtod(at + sizeof(compute) - 1, nullptr));
}

void on_log(sd_log_level_t level, const char *text, void *)
{
    if (!text) return;
    cadre_sd_call *call = current;
    if (call) {
        if (level == SD_LOG_ERROR) note(call, text);
        if (call->buffer && level != SD_LOG_ERROR) note_buffer(call, text);
    } else if (level == SD_LOG_ERROR) {
        std::lock_guard<std::mutex> lock(loads_lock);
        if (only_load) note(only_load, text);
    }
}

/* Besides sampling, which begins at 0 and ends at `steps`, tiles of the autoencoder are reported. */
void on_progress(int step, int steps, float, void *)
{
    cadre_sd_call *call = current;
    if (!call) return;
    if (loading) {
        if (call->loaded) call->loaded(call->data, step, steps);
        return;
    }
    if (steps != call->steps || step != reached + 1) return;
    reached = step < steps ? step : steps + 1;
    if (call->step && call->step(call->data, step, steps)) throw stopped();
}

void on_abort(const char *message)
{
    if (!current) { /* one of the engine's own threads: nothing can be saved */
        std::fprintf(stderr, "stable-diffusion.cpp: %s\n", message);
        return;
    }
    current->error[0] = '\0';
    note(current, message);
    throw failed_check();
}

void listen()
{
    static std::once_flag once;
    std::call_once(once, [] {
        sd_set_log_callback(on_log, nullptr);
        sd_set_progress_callback(on_progress, nullptr);
        ggml_set_abort_callback(on_abort);
    });
}

/* One call into the engine. */
template <typename work> int run(cadre_sd_call *call, bool load, work function)
{
    int result = CADRE_SD_OK;
    listen();
    call->error[0] = '\0';
    current = call;
    loading = load;
    reached = -1;
    try {
        result = function() ? CADRE_SD_OK : CADRE_SD_FAILED;
    } catch (const stopped &) {
        result = CADRE_SD_STOPPED;
    } catch (const failed_check &) {
        result = CADRE_SD_BROKEN;
    } catch (const std::bad_alloc &) {
        result = CADRE_SD_NO_MEMORY;
    } catch (const std::logic_error &e) { /* before sampling it is about the texts: std::stof of a weight, say */
        note(call, e.what());
        result = !load && reached < 0 ? CADRE_SD_REFUSED : CADRE_SD_FAILED;
    } catch (const std::exception &e) {
        note(call, e.what());
        result = CADRE_SD_FAILED;
    } catch (...) {
        note(call, "an unknown exception");
        result = CADRE_SD_FAILED;
    }
    current = nullptr;
    return result;
}

} // namespace

int cadre_sd_load(const sd_ctx_params_t *params, cadre_sd_call *call, sd_ctx_t **out)
{
    {
        std::lock_guard<std::mutex> lock(loads_lock);
        only_load = loads++ == 0 ? call : nullptr;
    }
    int result = run(call, true, [&] { return (*out = new_sd_ctx(params)) != nullptr; });
    std::lock_guard<std::mutex> lock(loads_lock);
    loads--;
    only_load = nullptr;
    return result;
}

int cadre_sd_generate(sd_ctx_t *context, const sd_img_gen_params_t *params, cadre_sd_call *call, sd_image_t *out)
{
    return run(call, false, [&] {
        sd_image_t *images = generate_image(context, params);
        if (!images) return false;
        *out = images[0];
        std::free(images);
        return out->data != nullptr;
    });
}

const char *cadre_sd_lacks(void)
{
#if defined(__x86_64__) || defined(__i386__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) return "AVX2, FMA and BMI2";
#endif
    return nullptr;
}
