-- 0008_scrapped: pieces that were scrapped stay findable; the lines of a ticket, and what is at a place, by index.

CREATE INDEX ledger_of_ticket ON ledger (ticket, seq) WHERE ticket IS NOT NULL;
CREATE INDEX units_of_place ON units (place);
INSERT INTO units (part, serial, batch, place, quantity, since)
    SELECT part, serial, batch, place, CASE serial WHEN '' THEN n ELSE 1 END, since
    FROM (
        SELECT l.part AS part, coalesce(u.value->>'serial', '') AS serial,
            coalesce(u.value->>'batch', '') AS batch, 'scrapped:' || l.depot AS place,
            -sum((u.value->>'delta')::bigint)::bigint AS n, max(l.at) AS since
        FROM ledger l, json_array_elements(l.units) AS u (value)
        WHERE l.kind = 'scrap' AND l.units IS NOT NULL
        GROUP BY 1, 2, 3, 4
    ) AS scrapped
    -- A number that was received again afterwards is where it is.
    WHERE n > 0 AND NOT EXISTS (
        SELECT 1 FROM units u WHERE u.part = scrapped.part AND u.serial = scrapped.serial AND u.serial <> '' AND u.quantity > 0
    );
