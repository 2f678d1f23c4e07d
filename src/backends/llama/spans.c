/* Where pictures are among the tokens of a prompt or a sequence. */
#include "vision.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(cadre__llama_spans *spans, int32_t capacity)
{
    if (capacity <= spans->capacity) return true;
    cadre__llama_span *at = realloc(spans->at, (size_t)capacity * sizeof(*at));
    if (!at) return false;
    spans->at = at;
    spans->capacity = capacity;
    return true;
}

bool cadre__llama_spans_add(cadre__llama_spans *spans, const cadre__llama_span *span)
{
    if (spans->count == spans->capacity && !reserve(spans, spans->count < 8 ? 8 : spans->count * 2)) return false;
    spans->at[spans->count++] = *span;
    return true;
}

bool cadre__llama_spans_copy(cadre__llama_spans *to, const cadre__llama_spans *from)
{
    if (!reserve(to, from->count)) return false;
    if (from->count > 0) memcpy(to->at, from->at, (size_t)from->count * sizeof(*to->at));
    to->count = from->count;
    return true;
}

void cadre__llama_spans_cut(cadre__llama_spans *spans, int32_t token)
{
    while (spans->count > 0 && spans->at[spans->count - 1].first + spans->at[spans->count - 1].count > token) spans->count--;
}

void cadre__llama_spans_clear(cadre__llama_spans *spans)
{
    free(spans->at);
    memset(spans, 0, sizeof(*spans));
}

const cadre__llama_span *cadre__llama_spans_find(const cadre__llama_spans *spans, int32_t token)
{
    for (int32_t i = 0; i < spans->count && spans->at[i].first <= token; i++) {
        if (token < spans->at[i].first + spans->at[i].count) return &spans->at[i];
    }
    return NULL;
}

int32_t cadre__llama_spans_text(const cadre__llama_spans *spans, int32_t from, int32_t end)
{
    for (int32_t i = 0; i < spans->count; i++) {
        if (spans->at[i].first + spans->at[i].count <= from) continue;
        if (spans->at[i].first < end) end = spans->at[i].first;
        break;
    }
    return end > from ? end - from : 0;
}

llama_pos cadre__llama_spans_position(const cadre__llama_spans *spans, int32_t token)
{
    llama_pos position = token;
    for (int32_t i = 0; i < spans->count && spans->at[i].first < token; i++) position += spans->at[i].positions - spans->at[i].count;
    return position;
}
