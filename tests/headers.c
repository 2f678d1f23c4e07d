/* The headers compile under a strict C11 and, as headers.cpp, under C++17; each alone, in any order. Nothing here runs. */
#include HEADER
#include HEADER

int cadre_test_header(void);
int cadre_test_header(void)
{
    return CADRE_VERSION_MAJOR;
}
