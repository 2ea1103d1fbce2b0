-- Routes of memcached's proxy for tests/scale_out/run.py, which puts three lines in front: the servers, the settings of
-- each backend, and whether a request that fails goes to another server.

local function backends()
    local list = {}
    for at, server in ipairs(servers) do
        local backend = { label = server[1], host = server[2], port = 11211 }
        for name, value in pairs(settings) do backend[name] = value end
        list[at] = mcp.backend(backend)
    end
    return list
end

function mcp_config_pools()
    local list = backends()
    local options = { dist = mcp.dist_jump_hash }
    -- The same distribution over the list moved by one: the spare of each server is the next one.
    return {
        main = mcp.pool(list, options),
        spare = mcp.pool({ list[2], list[3], list[1] }, options),
    }
end

function mcp_config_routes(pools)
    local routes = mcp.funcgen_new()
    local main, spare = routes:new_handle(pools.main), routes:new_handle(pools.spare)
    routes:ready({
        f = function(rctx)
            return function(request)
                local result = rctx:enqueue_and_wait(request, main)
                if result:ok() or not failover then
                    return result
                end
                return rctx:enqueue_and_wait(request, spare)
            end
        end,
    })
    mcp.attach(mcp.CMD_ANY_STORAGE, routes)
end
