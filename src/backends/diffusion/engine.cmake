# The stable-diffusion.cpp that cadre-diffusion links: one shared library, fetched and built by fetch.sh when it is not in the cache (8 to 20 minutes, once).
#
# CADRE_DIFFUSION_ENGINE may name a folder that fetch.sh made (lib/, include/, LICENSE.*); empty: the cache's.
#
# It defines
#   cadre_diffusion_engine       the imported library, with its headers (as system headers)
#   CADRE_DIFFUSION_LIBRARY      its file, to install beside libcadre-diffusion
#   CADRE_DIFFUSION_LICENSES     the licence files to install with it

set(CADRE_DIFFUSION_ENGINE "" CACHE PATH "A folder that src/backends/diffusion/fetch.sh made; empty: that of the cache")

if(CADRE_DIFFUSION_ENGINE)
  set(found "${CADRE_DIFFUSION_ENGINE}")
else()
  execute_process(
    COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/fetch.sh"
    OUTPUT_VARIABLE found
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "stable-diffusion.cpp could not be fetched and built (see above)")
  endif()
  string(REGEX REPLACE ".*\n" "" found "${found}")
endif()

set(CADRE_DIFFUSION_LIBRARY "${found}/lib/libcadre-stable-diffusion.so")
file(GLOB CADRE_DIFFUSION_LICENSES "${found}/LICENSE.*")
if(NOT EXISTS "${CADRE_DIFFUSION_LIBRARY}")
  message(FATAL_ERROR "${CADRE_DIFFUSION_LIBRARY} is missing")
endif()
add_library(cadre_diffusion_engine SHARED IMPORTED GLOBAL)
set_target_properties(cadre_diffusion_engine PROPERTIES
  IMPORTED_LOCATION "${CADRE_DIFFUSION_LIBRARY}"
  IMPORTED_SONAME libcadre-stable-diffusion.so
  INTERFACE_INCLUDE_DIRECTORIES "${found}/include")
message(STATUS "stable-diffusion.cpp: ${found}")
