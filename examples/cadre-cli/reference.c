/* A model that is named by a reference to its file, "hf:OWNER/NAME/FILE" or "hf:OWNER/NAME@REVISION/FILE": an entry made from it, without a manifest. Its files
 * come with the first request. The command says the capability, the file's name the backend; further files are named by options. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int is_reference(const char *word)
{
    return strncmp(word, "hf:", 3) == 0;
}

static int ends_with(const char *word, const char *end)
{
    size_t length = strlen(word), tail = strlen(end);
    return length >= tail && strcasecmp(word + length - tail, end) == 0;
}

/* NULL: the command can use no such file, and `*ends` says of which kind it must be. */
static const char *backend_of(const char *word, const char **ends)
{
    uint32_t bit = app.command->bit;
    int gguf = ends_with(word, ".gguf"), onnx = ends_with(word, ".onnx");
    *ends = bit == DRAW ? ".gguf or .safetensors" : bit == EMBED ? ".gguf or .onnx" : bit == EMBED_IMAGE ? ".onnx" : ".gguf";
    if (bit == DRAW) return gguf || ends_with(word, ".safetensors") ? "diffusion" : NULL;
    if (gguf && bit != EMBED_IMAGE) return "llama";
    return onnx && (bit & (EMBED | EMBED_IMAGE)) ? "onnx" : NULL;
}

static void add_option(struct buffer *out, const char *name, const char *value)
{
    if (!value) return;
    buffer_print(out, "%s\"%s\": ", out->length > 1 ? ", " : "", name);
    buffer_json(out, value);
}

int reference_model(const char *word)
{
    struct model *model = allocate(1, sizeof *model);
    struct buffer options = {NULL, 0, 0};
    int rc = need_fetch(word);
    if (rc == 0) rc = check_utf8("MODEL", word, strlen(word));
    if (rc) return free(model), rc;
    const char *ends;
    model->backend = backend_of(word, &ends);
    if (!model->backend) {
        free(model);
        return misuse("%.255s: \"%s\" takes a reference to a file, hf:OWNER/NAME/FILE, whose name ends in %s", word, app.command->name, ends);
    }
    if (app.command->bit == DESCRIBE && !app.options.mmproj) {
        free(model);
        return misuse("%.255s: a model that looks at pictures has a second file; name it with --mmproj hf:OWNER/NAME/FILE", word);
    }
    buffer_add(&options, "{", 1);
    add_option(&options, "path", word);
    if (app.command->bit == DESCRIBE) add_option(&options, "mmproj", app.options.mmproj);
    if (app.command->bit == EMBED) add_option(&options, "vocabulary", app.options.vocabulary);
    buffer_add(&options, "}", 1);
    model->options = options.data;
    model->key = model->name = copy_bytes(word, strlen(word));
    model->provider = model->license = "", model->loader = "async";
    model->capability = app.command->capability;
    manifest.models = model, manifest.count = 1;
    manifest.path = copy_bytes("", 0);
    return 0;
}

int reference_add(struct model *model, cadre_registry_cb added)
{
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = model->key;
    entry.capability = model->capability;
    entry.backend = model->backend;
    entry.options = model->options;
    entry.loader = CADRE_LOADER_ASYNC;
    return cadre_registry_add(app.pool, &entry, added, model);
}
