# The ONNX Runtime that cadre-onnx links.
#
# CADRE_ONNX_ENGINE chooses where it comes from:
#   packages  the ready shared library of 1.24.1, fetched by fetch.sh when it is not in the cache (the default)
#   system    an installed one of 1.22 or newer: CADRE_ONNX_LIBRARY names it, or the linker's folders have it
# The header is that of API 22 in include/, whichever it is: newer libraries keep that interface.
#
# It defines
#   cadre_onnx_engine       an interface target: the header (as a system header) and libonnxruntime
#   CADRE_ONNX_LIBRARIES    the shared library to install beside libcadre-onnx; empty for system
#   CADRE_ONNX_LICENSES     the licence files to install with it

set(CADRE_ONNX_ENGINE packages CACHE STRING "Where ONNX Runtime comes from: packages or system")
set_property(CACHE CADRE_ONNX_ENGINE PROPERTY STRINGS packages system)
set(CADRE_ONNX_LIBRARY "" CACHE FILEPATH "CADRE_ONNX_ENGINE=system: the path of libonnxruntime.so")

set(CADRE_ONNX_LIBRARIES "")
set(CADRE_ONNX_LICENSES "${CMAKE_CURRENT_LIST_DIR}/include/LICENSE.onnxruntime")

if(CADRE_ONNX_ENGINE STREQUAL "packages")
  execute_process(
    COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/fetch.sh"
    OUTPUT_VARIABLE CADRE_ONNX_FOUND_AT
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "fetching ONNX Runtime failed (see above); CADRE_ONNX_ENGINE=system uses an installed one")
  endif()
  string(REGEX REPLACE ".*\n" "" CADRE_ONNX_FOUND_AT "${CADRE_ONNX_FOUND_AT}")
  set(CADRE_ONNX_LIBRARIES "${CADRE_ONNX_FOUND_AT}/lib/libonnxruntime.so.1")
  file(GLOB CADRE_ONNX_LICENSES "${CADRE_ONNX_FOUND_AT}/*.onnxruntime")
  set(library "${CADRE_ONNX_LIBRARIES}")
elseif(CADRE_ONNX_ENGINE STREQUAL "system")
  if(CADRE_ONNX_LIBRARY)
    set(library "${CADRE_ONNX_LIBRARY}")
  else()
    find_library(CADRE_ONNX_SYSTEM_LIBRARY onnxruntime)
    set(library "${CADRE_ONNX_SYSTEM_LIBRARY}")
  endif()
  set(CADRE_ONNX_FOUND_AT "${library}")
else()
  message(FATAL_ERROR "CADRE_ONNX_ENGINE is \"${CADRE_ONNX_ENGINE}\"; it must be packages or system")
endif()
if(NOT EXISTS "${library}")
  message(FATAL_ERROR "ONNX Runtime's library is missing (${library}); CADRE_ONNX_LIBRARY names one for CADRE_ONNX_ENGINE=system")
endif()

add_library(cadre_onnx_runtime SHARED IMPORTED GLOBAL)
set_target_properties(cadre_onnx_runtime PROPERTIES IMPORTED_LOCATION "${library}" IMPORTED_SONAME libonnxruntime.so.1)
add_library(cadre_onnx_engine INTERFACE IMPORTED GLOBAL)
target_link_libraries(cadre_onnx_engine INTERFACE cadre_onnx_runtime)
target_include_directories(cadre_onnx_engine SYSTEM INTERFACE "${CMAKE_CURRENT_LIST_DIR}/include")
message(STATUS "ONNX Runtime: ${CADRE_ONNX_ENGINE}, ${CADRE_ONNX_FOUND_AT}")
