/* As cadre__nearest, for names that are the first members of an array of structs. */
#ifndef CADRE__SUGGEST_H
#define CADRE__SUGGEST_H

#include "registry/manifest.h"

const char *cadre__nearest_of(const char *name, const void *first, size_t stride, size_t count);

#endif
