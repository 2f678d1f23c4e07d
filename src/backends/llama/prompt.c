/* From a request to the prompt's text: the model's chat template, applied by the engine. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

int cadre__llama_template_known(const char *chat_template)
{
    struct llama_chat_message hello = {"user", "hello"};
    return llama_chat_apply_template(chat_template, &hello, 1, true, NULL, 0) >= 0;
}

static int apply(cadre_op *op, const char *chat_template, const struct llama_chat_message *messages, size_t count, char **owned)
{
    int32_t length = llama_chat_apply_template(chat_template, messages, count, true, NULL, 0);
    if (length < 0)
        return cadre_op_fail(op, CADRE_EINPUT, "the engine does not know the model's chat template: send raw text, or give the model's loader a chat_template");
    char *text = malloc((size_t)length + 1);
    if (!text) return CADRE_ENOMEM;
    llama_chat_apply_template(chat_template, messages, count, true, text, length + 1);
    text[length] = '\0';
    *owned = text;
    return CADRE_OK;
}

/* The engine counts the bytes of a chat in an int. */
static int check_size(cadre_op *op, const cadre_generation_input *input)
{
    size_t total = 0;
    for (size_t i = 0; i < input->message_count; i++) total += strlen(input->messages[i].content) + strlen(input->messages[i].role);
    if (input->text) total += strlen(input->text);
    return total <= INT32_MAX / 2 ? CADRE_OK : cadre_op_fail(op, CADRE_ETOOLONG, "the chat has %zu bytes; the engine takes %d", total, INT32_MAX / 2);
}

static int chat(cadre_op *op, const char *chat_template, const cadre_generation_input *input, char **owned)
{
    struct llama_chat_message one = {"user", input->text};
    int rc = check_size(op, input);
    if (rc < 0) return rc;
    if (input->text) return apply(op, chat_template, &one, 1, owned);
    struct llama_chat_message *messages = calloc(input->message_count, sizeof(*messages));
    if (!messages) return CADRE_ENOMEM;
    for (size_t i = 0; i < input->message_count; i++) messages[i] = (struct llama_chat_message){input->messages[i].role, input->messages[i].content};
    rc = apply(op, chat_template, messages, input->message_count, owned);
    free(messages);
    return rc;
}

int cadre__llama_prompt(cadre_op *op, const char *chat_template, const cadre_generation_input *input, const char **out, char **owned)
{
    *owned = NULL;
    if (!input->text && input->message_count == 0) return cadre_op_fail(op, CADRE_EINPUT, "there is no text");
    if (chat_template && !input->raw) {
        int rc = chat(op, chat_template, input, owned);
        *out = *owned;
        return rc;
    }
    if (!input->text && input->message_count > 1) return cadre_op_fail(op, CADRE_EINPUT, "the model has no chat template: send text instead of messages");
    *out = input->text ? input->text : input->messages[0].content;
    return CADRE_OK;
}
