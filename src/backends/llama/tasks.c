/* Text embedding's prompts: a text for each task that requests may name. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cadre_named_text *find(const cadre_named_text *prompts, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(prompts[i].name, name) == 0) return &prompts[i];
    }
    return NULL;
}

bool cadre__llama_prompts_sound(const cadre_named_text *prompts, size_t count)
{
    if (count > CADRE__LLAMA_PROMPTS_MAX || (count > 0 && !prompts)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!prompts[i].name || !prompts[i].name[0] || !prompts[i].text || find(prompts, i, prompts[i].name)) return false;
    }
    return true;
}

/* In one block: the array, then its texts. */
bool cadre__llama_prompts_copy(const cadre_named_text *from, size_t count, cadre_named_text **out)
{
    size_t size = count * sizeof(*from); /* of at most CADRE__LLAMA_PROMPTS_MAX */
    *out = NULL;
    if (count == 0) return true;
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(size, strlen(from[i].name) + strlen(from[i].text) + 2, &size)) return false;
    }
    cadre_named_text *prompts = malloc(size);
    if (!prompts) return false;
    char *at = (char *)(prompts + count);
    for (size_t i = 0; i < count; i++) {
        prompts[i].name = at;
        at = stpcpy(at, from[i].name) + 1;
        prompts[i].text = at;
        at = stpcpy(at, from[i].text) + 1;
    }
    *out = prompts;
    return true;
}

/* "a", "b": as many whole names as there is room for. */
static void list_names(const cadre__llama_options *options, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < options->prompt_count; i++) {
        const char *name = options->prompts[i].name;
        if (strlen(name) + 10 > size - used) { /* with what is put around it, and what says that there are more */
            snprintf(out + used, size - used, "%s…", i > 0 ? ", " : "");
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", i > 0 ? ", " : "", name);
    }
}

int cadre__llama_prompt_of(const cadre__llama_options *options, cadre_op *const *ops, size_t count, const char *task, const char **out)
{
    char names[320];
    *out = NULL;
    if (!task || !*task) return CADRE_OK;
    const cadre_named_text *prompt = find(options->prompts, options->prompt_count, task);
    if (prompt) {
        *out = prompt->text;
        return CADRE_OK;
    }
    int shown = cadre__llama_text_cut(task, 64);
    list_names(options, names, sizeof(names));
    for (size_t i = 0; i < count; i++) {
        if (options->prompt_count > 0)
            cadre_op_fail(ops[i], CADRE_EINPUT, "the task \"%.*s\" is not one of the model's prompts: %s", shown, task, names);
        else
            cadre_op_fail(ops[i], CADRE_ENOTSUP, "the task \"%.*s\": the model was given no prompts (the option \"prompts\")", shown, task);
    }
    return options->prompt_count > 0 ? CADRE_EINPUT : CADRE_ENOTSUP;
}
