/* The end of every suite: its main(), made from the suite's line in list.h. Define SUITE before. */
#include "list.h"
#include "support.h"

#define SUITE_JOIN_(a, b) a##b
#define SUITE_JOIN(a, b) SUITE_JOIN_(a, b)
#define SUITE_NAME_(name) #name
#define SUITE_NAME(name) SUITE_NAME_(name)
/* The initial state is the test's name, for the watchdog. */
#define SUITE_CASE(name) cmocka_unit_test_prestate_setup_teardown(name, support_setup, support_teardown, (void *)(uintptr_t) #name),

int main(int count, char **arguments)
{
    static const struct CMUnitTest tests[] = {SUITE_JOIN(TESTS_, SUITE)(SUITE_CASE)};
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests_name(SUITE_NAME(SUITE), tests, NULL, NULL);
}
