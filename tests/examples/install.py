"""install.py SOURCE BUILD CMAKE CC: installs BUILD into a scratch prefix below it and uses what lies there, by pkg-config and by find_package: a host that links
the backend, and one that links libcadre alone and finds the backend as a module."""
import os
import re
import shutil
import subprocess
import sys

SOURCE, BUILD, CMAKE, CC = sys.argv[1:]
MODEL = os.environ.get("CADRE_TEST_SMOLLM2") or sys.exit("CADRE_TEST_SMOLLM2 is not set: it names the model's file (see tests/run.sh)")
HERE = os.path.dirname(os.path.abspath(__file__))
SCRATCH = os.path.join(BUILD, "tests", "examples", "scratch")
PREFIX = os.path.join(SCRATCH, "prefix")
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


def run(*command, **environment):
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nexit code {done.returncode}")
    return done.stdout


def check_answer(program, **environment):
    output = run(program, MODEL, **environment)
    print(output)
    pieces = re.search(r"^(\d+) pieces$", output, re.M)
    assert pieces and int(pieces[1]) >= 3, "the answer was not streamed"
    assert len(output.split("\n")[0]) > 10, "there is no answer"


def check_symbols(library):
    """Only cadre_ may be seen; cadre__ is internal; CADRE_0 is the version node. Returns what is."""
    seen = set()
    for line in run("nm", "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        name = name.split("@")[0]
        assert (name.startswith("cadre_") and not name.startswith("cadre__")) or (kind == "A" and name == "CADRE_0"), f"{library} shows {name}"
        seen.add(name)
    return seen


shutil.rmtree(SCRATCH, ignore_errors=True)
run(CMAKE, "--install", BUILD, "--prefix", PREFIX)
pc_folder = next(folder for folder, _, files in os.walk(PREFIX) if "cadre-llama.pc" in files)
libraries = os.path.dirname(pc_folder)
shared = os.path.exists(os.path.join(libraries, "libcadre.so"))
if shared:
    check_symbols(os.path.join(libraries, "libcadre.so"))
    check_symbols(os.path.join(libraries, "libcadre-llama.so"))

module = os.path.join(libraries, "cadre", "cadre-llama.so")
assert os.path.exists(module) == shared, f"{module}: {'is not installed' if shared else 'cannot work in a static build'}"
if shared:
    assert check_symbols(module) == {"cadre_backend_module"}
    for library in (module, os.path.join(libraries, "libcadre-llama.so")):
        for line in run("ldd", library, LD_LIBRARY_PATH="").splitlines():
            assert "not found" not in line and BUILD not in line.replace(PREFIX, ""), f"{library}: {line}"


def flags_of(package, *arguments):
    flags = run("pkg-config", *arguments, package, PKG_CONFIG_PATH=pc_folder).split()
    assert not [flag for flag in flags if flag.startswith(("-I" + SOURCE + "/", "-L" + SOURCE + "/")) and SCRATCH not in flag], flags
    return flags


def build(name, package):
    host = os.path.join(SCRATCH, name)
    run(CC, *WARNINGS, os.path.join(HERE, name + ".c"), *flags_of(package, "--cflags", "--libs", *([] if shared else ["--static"])), "-o", host)
    return host


# cJSON is of concern to those alone who link a static libcadre.
assert "-lcjson" in flags_of("cadre", "--libs", "--static"), "a static libcadre needs cJSON"
assert "-lcjson" not in flags_of("cadre", "--libs"), "a shared libcadre brings cJSON itself"

check_answer(build("host", "cadre-llama"), LD_LIBRARY_PATH=libraries)
if shared:
    registry_host = build("registry_host", "cadre")
    assert "libcadre-llama" not in run("readelf", "-d", registry_host), "it links the backend"
    check_answer(registry_host, LD_LIBRARY_PATH=libraries)

package = os.path.join(SCRATCH, "package")
generator = re.search(r"^CMAKE_GENERATOR:INTERNAL=(.*)$", open(os.path.join(BUILD, "CMakeCache.txt")).read(), re.M)[1]
run(CMAKE, "-G", generator, "-S", os.path.join(HERE, "package"), "-B", package, "-DCMAKE_PREFIX_PATH=" + PREFIX, "-DCMAKE_C_COMPILER=" + CC)
run(CMAKE, "--build", package)
check_answer(os.path.join(package, "host"))
if shared:
    check_answer(os.path.join(package, "registry_host"))

for name in os.listdir(os.path.join(SOURCE, "include", "cadre")):
    assert os.path.exists(os.path.join(PREFIX, "include", "cadre", name)), f"{name} is not installed"
assert os.path.exists(os.path.join(PREFIX, "share", "cadre", "catalogue.json")), "the catalogue is not installed"
print("installed, by pkg-config and by find_package: well")
