{{ config(materialized='table') }}
select id, share from (select id, {{ share('amount') }} as share from {{ ref('only_inside') }}) as inside
