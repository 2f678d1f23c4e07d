/* What the suites of manifests and of entries share. */
#ifndef CADRE_TESTS_MANIFEST_CASE_H
#define CADRE_TESTS_MANIFEST_CASE_H

#include "support.h"

#include "registry/manifest.h"

static char detail[CADRE__DETAIL_SIZE];
static test_memory memory;
static cadre_allocator allocator;

static void begin(void)
{
    memset(&memory, 0, sizeof memory);
    allocator = test_allocator(&memory);
}

static void end(void)
{
    assert_int_equal(atomic_load(&memory.blocks), 0);
    assert_int_equal(atomic_load(&memory.bytes), 0);
    assert_int_equal(atomic_load(&memory.faults), 0);
}

#endif
