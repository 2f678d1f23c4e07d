# The llama.cpp that cadre-llama links.
#
# CADRE_LLAMA_ENGINE chooses where it comes from:
#   packages  ready shared libraries of v0.5.0 and libmtmd compiled beside them, fetched and made by fetch.sh when they are not in the cache (the default)
#   source    the same version, built here once (some minutes) into CADRE_LLAMA_BUILD_DIR; needs a C++ compiler
#   system    an installed llama.cpp, found as a CMake package or by pkg-config; vision where it has libmtmd too
#
# It defines
#   cadre_llama_engine       an interface target: headers (as system headers) and libllama, libggml, libggml-base
#   cadre_llama_vision       an interface target: libmtmd, where there is one, and the definitions that tell the sources of it
#   CADRE_LLAMA_LIB_DIR      the folder for ggml_backend_load_all_from_path; empty for system (ggml_backend_load_all finds its own)
#   CADRE_LLAMA_LIBRARIES    every shared library to install beside libcadre-llama; empty for system
#   CADRE_LLAMA_LICENSES     the licence files to install with them; empty for system
# The libraries' SONAMEs are their file names and their RUNPATH is $ORIGIN, so a folder that holds them all works wherever it lies.

set(CADRE_LLAMA_ENGINE packages CACHE STRING "Where llama.cpp comes from: packages, source or system")
set_property(CACHE CADRE_LLAMA_ENGINE PROPERTY STRINGS packages source system)
set(CADRE_LLAMA_BUILD_DIR "${CMAKE_BINARY_DIR}/llama-engine" CACHE PATH "Where CADRE_LLAMA_ENGINE=source builds llama.cpp")

# Runs fetch.sh; OUT becomes the folder that it prints last.
function(cadre_llama_fetch OUT)
  execute_process(
    COMMAND sh "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/fetch.sh" ${ARGN}
    OUTPUT_VARIABLE output
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "fetching llama.cpp failed (see above); CADRE_LLAMA_ENGINE=system uses an installed one")
  endif()
  string(REGEX REPLACE ".*\n" "" output "${output}")
  set(${OUT} "${output}" PARENT_SCOPE)
endfunction()

# Configures and builds the source in BINARY, at configure time: the names of its CPU variants are only known afterwards.
function(cadre_llama_build SOURCE BINARY)
  set(stamp "${BINARY}/.complete")
  file(SHA256 "${CMAKE_CURRENT_FUNCTION_LIST_FILE}" recipe)
  file(READ "${SOURCE}/.stamp" source_recipe)
  set(recipe "${recipe} ${SOURCE} ${source_recipe}")
  if(EXISTS "${stamp}")
    file(READ "${stamp}" done)
    if(done STREQUAL recipe)
      return()
    endif()
  endif()

  include(ProcessorCount)
  ProcessorCount(cores)
  if(cores EQUAL 0)
    set(cores 1)
  endif()
  set(options
      -G "${CMAKE_GENERATOR}"
      -DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM}
      -DCMAKE_BUILD_TYPE=Release
      -DBUILD_SHARED_LIBS=ON
      -DGGML_BACKEND_DL=ON
      -DGGML_CPU_ALL_VARIANTS=ON
      -DGGML_NATIVE=OFF
      -DGGML_OPENMP=OFF
      -DGGML_CCACHE=OFF
      -DLLAMA_BUILD_COMMON=OFF
      -DLLAMA_BUILD_TESTS=OFF
      -DLLAMA_BUILD_TOOLS=OFF
      -DLLAMA_BUILD_EXAMPLES=OFF
      -DLLAMA_BUILD_SERVER=OFF
      -DLLAMA_BUILD_APP=OFF
      -DLLAMA_OPENSSL=OFF
      -DLLAMA_BUILD_MTMD=ON
      -DMTMD_VIDEO=OFF
      -DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON
      -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON
      "-DCMAKE_INSTALL_RPATH=\$ORIGIN")
  message(STATUS "Building llama.cpp in ${BINARY} (some minutes, once)")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BINARY}" ${options} RESULT_VARIABLE status)
  if(status EQUAL 0)
    execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BINARY}" --parallel ${cores} RESULT_VARIABLE status)
  endif()
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "building llama.cpp in ${BINARY} failed (see above)")
  endif()
  file(WRITE "${stamp}" "${recipe}")
endfunction()

# An imported shared library, visible in every folder of the project.
function(cadre_llama_import NAME FILE)
  if(NOT EXISTS "${FILE}")
    message(FATAL_ERROR "llama.cpp's library ${FILE} is missing")
  endif()
  get_filename_component(soname "${FILE}" NAME)
  add_library(${NAME} SHARED IMPORTED GLOBAL)
  set_target_properties(${NAME} PROPERTIES IMPORTED_LOCATION "${FILE}" IMPORTED_SONAME "${soname}")
endfunction()

# The engine from a folder of shared libraries; SUFFIX is what follows "libllama" and "libggml" in their names.
function(cadre_llama_engine_from LIB_DIR SUFFIX)
  cadre_llama_import(cadre_llama_engine_base "${LIB_DIR}/libggml-base.so")
  cadre_llama_import(cadre_llama_engine_ggml "${LIB_DIR}/libggml${SUFFIX}")
  cadre_llama_import(cadre_llama_engine_llama "${LIB_DIR}/libllama${SUFFIX}")
  cadre_llama_import(cadre_llama_engine_mtmd "${LIB_DIR}/libmtmd${SUFFIX}")
  target_link_libraries(cadre_llama_engine INTERFACE cadre_llama_engine_llama cadre_llama_engine_ggml cadre_llama_engine_base)
  target_include_directories(cadre_llama_engine SYSTEM INTERFACE ${ARGN})
  target_link_libraries(cadre_llama_vision INTERFACE cadre_llama_engine_mtmd)
  target_compile_definitions(cadre_llama_vision INTERFACE CADRE_LLAMA_VISION=1 CADRE_LLAMA_MTMD_THREADS=1)
  file(GLOB variants "${LIB_DIR}/libggml-cpu-*.so")
  if(NOT variants)
    message(FATAL_ERROR "${LIB_DIR} has no CPU backends (libggml-cpu-*.so)")
  endif()
  set(CADRE_LLAMA_LIB_DIR "${LIB_DIR}" PARENT_SCOPE)
  set(CADRE_LLAMA_LIBRARIES
      "${LIB_DIR}/libllama${SUFFIX}" "${LIB_DIR}/libmtmd${SUFFIX}" "${LIB_DIR}/libggml${SUFFIX}" "${LIB_DIR}/libggml-base.so" ${variants}
      PARENT_SCOPE)
endfunction()

# An installed libmtmd, whose header is where llama.h is or beside it. Its contexts keep the number of threads that they were made with.
function(cadre_llama_vision_from_system HINTS)
  find_library(CADRE_LLAMA_MTMD_LIBRARY mtmd HINTS ${HINTS} PATH_SUFFIXES lib lib64)
  find_path(CADRE_LLAMA_MTMD_INCLUDE mtmd.h HINTS ${HINTS} PATH_SUFFIXES include include/llama include/mtmd)
  if(NOT CADRE_LLAMA_MTMD_LIBRARY OR NOT CADRE_LLAMA_MTMD_INCLUDE)
    message(STATUS "llama.cpp: no libmtmd (CADRE_LLAMA_MTMD_LIBRARY, CADRE_LLAMA_MTMD_INCLUDE): built without vision, whose entries will answer CADRE_ENOTSUP")
    return()
  endif()
  target_link_libraries(cadre_llama_vision INTERFACE "${CADRE_LLAMA_MTMD_LIBRARY}")
  target_include_directories(cadre_llama_vision SYSTEM INTERFACE "${CADRE_LLAMA_MTMD_INCLUDE}")
  target_compile_definitions(cadre_llama_vision INTERFACE CADRE_LLAMA_VISION=1)
endfunction()

function(cadre_llama_engine_from_system)
  find_package(llama CONFIG QUIET)
  if(llama_FOUND)
    set(found "${llama_DIR}")
    set(hints "${llama_DIR}/../../..")
    set(libraries llama ggml::ggml ggml::ggml-base)
    # The engine's target is visible in the whole project; so must be what it links.
    foreach(library IN LISTS libraries)
      get_target_property(imported ${library} IMPORTED)
      if(imported)
        set_target_properties(${library} PROPERTIES IMPORTED_GLOBAL TRUE)
      endif()
    endforeach()
    target_include_directories(cadre_llama_engine SYSTEM INTERFACE $<TARGET_PROPERTY:llama,INTERFACE_INCLUDE_DIRECTORIES>)
  else()
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
      pkg_check_modules(CADRE_LLAMA_PC QUIET IMPORTED_TARGET GLOBAL llama)
    endif()
    if(NOT CADRE_LLAMA_PC_FOUND)
      message(FATAL_ERROR "CADRE_LLAMA_ENGINE=system: there is neither a CMake package llama (set CMAKE_PREFIX_PATH or llama_DIR) "
                          "nor a pkg-config module llama (set PKG_CONFIG_PATH)")
    endif()
    set(found "pkg-config, ${CADRE_LLAMA_PC_LIBDIR}")
    set(hints "${CADRE_LLAMA_PC_LIBDIR}" "${CADRE_LLAMA_PC_PREFIX}")
    set(libraries PkgConfig::CADRE_LLAMA_PC)
  endif()
  target_link_libraries(cadre_llama_engine INTERFACE ${libraries})
  cadre_llama_vision_from_system("${hints}")
  set(CADRE_LLAMA_FOUND_AT "${found}" PARENT_SCOPE)
endfunction()

add_library(cadre_llama_engine INTERFACE IMPORTED GLOBAL)
add_library(cadre_llama_vision INTERFACE IMPORTED GLOBAL)
set(CADRE_LLAMA_LIB_DIR "")
set(CADRE_LLAMA_LIBRARIES "")
set(CADRE_LLAMA_LICENSES "")

if(CADRE_LLAMA_ENGINE STREQUAL "packages")
  cadre_llama_fetch(CADRE_LLAMA_FOUND_AT)
  cadre_llama_engine_from("${CADRE_LLAMA_FOUND_AT}/lib" .v0.5.0.so "${CADRE_LLAMA_FOUND_AT}/include")
  file(GLOB CADRE_LLAMA_LICENSES "${CADRE_LLAMA_FOUND_AT}/LICENSE.*")
elseif(CADRE_LLAMA_ENGINE STREQUAL "source")
  cadre_llama_fetch(CADRE_LLAMA_FOUND_AT --source-only)
  cadre_llama_build("${CADRE_LLAMA_FOUND_AT}" "${CADRE_LLAMA_BUILD_DIR}")
  cadre_llama_engine_from("${CADRE_LLAMA_BUILD_DIR}/bin" .so "${CADRE_LLAMA_FOUND_AT}/include" "${CADRE_LLAMA_FOUND_AT}/ggml/include"
                           "${CADRE_LLAMA_FOUND_AT}/tools/mtmd")
  set(CADRE_LLAMA_LICENSES "${CADRE_LLAMA_FOUND_AT}/LICENSE")
elseif(CADRE_LLAMA_ENGINE STREQUAL "system")
  cadre_llama_engine_from_system()
else()
  message(FATAL_ERROR "CADRE_LLAMA_ENGINE is \"${CADRE_LLAMA_ENGINE}\"; it must be packages, source or system")
endif()
message(STATUS "llama.cpp: ${CADRE_LLAMA_ENGINE}, ${CADRE_LLAMA_FOUND_AT}")
