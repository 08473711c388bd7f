{{ config(materialized='incremental', unique_key='id', on_schema_change='append_new_columns') }}
with fresh as (select id, amount, code{% if var('wide', false) %}, 'web' as channel{% endif %} from {{ ref('orders_clean') }})
select * from fresh
{% if is_incremental() %}where id > (select coalesce(max(id), 0) - 5 from {{ this }}){% endif %}
