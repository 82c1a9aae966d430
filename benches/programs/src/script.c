/* A script interpreter: calls, objects, strings, sorting, closures. No errors and no coroutines, which would take
   long jumps, and no operating system. Argument: scale. */
#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"
#include <stdio.h>
#include <stdlib.h>

static const char *source =
    "local scale = ...\n"
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
    "print(fib(18 + scale))\n"
    "local words = {}\n"
    "for i = 1, 2000 * scale do words[i] = string.format('%05d-%s', i * 7919 % 10007, ('x'):rep(i % 5)) end\n"
    "table.sort(words) print(words[1], words[#words])\n"
    "local counts = {}\n"
    "for _, word in ipairs(words) do for c in word:gmatch('.') do counts[c] = (counts[c] or 0) + 1 end end\n"
    "local keys = {} for k in pairs(counts) do keys[#keys + 1] = k end table.sort(keys)\n"
    "for _, k in ipairs(keys) do io.write(k, '=', counts[k], ' ') end print()\n"
    "local Point = {} Point.__index = Point\n"
    "Point.__add = function(a, b) return setmetatable({x = a.x + b.x, y = a.y + b.y}, Point) end\n"
    "local sum = setmetatable({x = 0, y = 0}, Point)\n"
    "for i = 1, 20000 * scale do sum = sum + setmetatable({x = i, y = i * 0.5}, Point) end print(sum.x, sum.y)\n"
    "local primes, n = {}, 2\n"
    "while #primes < 300 * scale do local prime = true\n"
    "  for _, d in ipairs(primes) do if d * d > n then break end if n % d == 0 then prime = false break end end\n"
    "  if prime then primes[#primes + 1] = n end n = n + 1 end print(primes[#primes])\n"
    "local s = ('the quick brown fox '):rep(50 * scale)\n"
    "print(#s:gsub('%w+', function(w) return w:upper():reverse() end))\n";

int luaopen_os(lua_State *state) {
    lua_newtable(state);
    return 1;
}

int main(int count, char **arguments) {
    lua_State *state = luaL_newstate();
    luaL_openlibs(state);
    if (luaL_loadstring(state, source) != LUA_OK) {
        printf("error: %s\n", lua_tostring(state, -1));
        return 1;
    }
    lua_pushinteger(state, count > 1 ? atoi(arguments[1]) : 5);
    lua_call(state, 1, 0);
    lua_close(state);
    return 0;
}
